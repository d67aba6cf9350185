#!/usr/bin/env python3
"""Measures many datagrams to one peer: Tidegate beside tokio's UdpSocket, in turn, and prints a table.

    cargo build --release --package tidegate-bench --bins
    cargo build --release --manifest-path bench/peers/Cargo.toml
    bench/datagrams.py --rounds 5 --megabytes 2000

The receiver runs on processor 0 and the sender on processor 1. Each figure is the processor time of one side, user and
system, for each gigabyte that was delivered; the table shows the medians, and how many datagrams were lost.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent
TIME_LIMIT = 600


def programs(arguments):
    ours = str(pathlib.Path(arguments.target) / "release" / "datagrams")
    tokio = str(pathlib.Path(arguments.peers) / "release" / "datagrams-tokio")
    megabytes = str(arguments.megabytes)
    return {
        "tidegate": (
            [ours, "receive"],
            lambda to: [ours, "send", "--to", to, "--megabytes", megabytes],
        ),
        "tokio": ([tokio, "receive"], lambda to: [tokio, "send", to, megabytes]),
    }


def sample(receive, send):
    """One transfer: seconds a delivered gigabyte of the sender and of the receiver, and the part that was lost."""
    receiver = subprocess.Popen(["taskset", "-c", "0", *receive], stdout=subprocess.PIPE, text=True)
    try:
        assert receiver.stdout.readline() == "READY\n"
        address = receiver.stdout.readline().removeprefix("listening on ").strip()
        sender = subprocess.run(
            ["taskset", "-c", "1", *send(address)],
            stdout=subprocess.PIPE, text=True, check=True, timeout=TIME_LIMIT,
        )
        output, _ = receiver.communicate(timeout=TIME_LIMIT)
    finally:
        receiver.kill()
        receiver.wait()
    sent, delivered = json.loads(sender.stdout), json.loads(output)
    gigabytes = delivered["delivered"] * 1200 / 1e9
    lost = 1 - delivered["delivered"] / sent["sent"]
    return sent["cpu_s"] / gigabytes, delivered["cpu_s"] / gigabytes, lost


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--target", default=ROOT.parent / "target", help="where ours was built")
    parser.add_argument("--peers", default=ROOT / "peers" / "target", help="where tokio's was built")
    arguments = parser.parse_args()
    samples = {name: [] for name in programs(arguments)}
    for _ in range(arguments.rounds):
        for name, (receive, send) in programs(arguments).items():
            samples[name].append(sample(receive, send))

    print("| | sender, s a GB | receiver, s a GB | lost |")
    print("|---|---|---|---|")
    for name, rows in samples.items():
        sender, receiver, lost = (statistics.median(column) for column in zip(*rows))
        print(f"| {name} | {sender:.3f} | {receiver:.3f} | {lost:.2%} |")
    ratios = [
        [ours[side] / theirs[side] for ours, theirs in zip(samples["tidegate"], samples["tokio"])]
        for side in (0, 1)
    ]
    sender, receiver = (statistics.median(side) for side in ratios)
    print(f"| ratio within a round | {sender:.3f} | {receiver:.3f} | |")


if __name__ == "__main__":
    main()

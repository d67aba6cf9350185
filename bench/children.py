#!/usr/bin/env python3
"""Measures children: Tidegate beside tokio::process and async-process, in turn, and prints a table for each test.

    cargo build --release --package tidegate-bench --bins
    cargo build --release --manifest-path bench/peers/Cargo.toml
    bench/children.py --rounds 11

The children have both processors, as everything else of the system does: so let nothing else run. Each figure is the
median of microseconds for one child, or for one MiB: time that passed, and processor time of the program without its
children. The ratios are the medians of those within a round, with their quartiles.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent
TIME_LIMIT = 120
TESTS = {
    "subprocess": "500 children, one after another",
    "subprocess_8": "500 children, 8 at a time",
    "pipe": "256 MiB from a child",
    "pipe_both": "256 MiB through `cat`",
}


def programs(arguments):
    ours = pathlib.Path(arguments.target) / "release" / "micro"
    peers = pathlib.Path(arguments.peers) / "release"
    return {
        "tidegate": ours,
        "tokio": peers / "children-tokio",
        "async-process": peers / "children-async-process",
    }


def sample(program, test):
    """Microseconds an item: those that passed, and those of the processor."""
    done = subprocess.run(
        [program, test], stdout=subprocess.PIPE, text=True, check=True, timeout=TIME_LIMIT
    )
    figures = json.loads(done.stdout)
    return [figures[key] / figures["n"] * 1e6 for key in ("wall_s", "cpu_s")]


def ratio(ours, theirs, column):
    ratios = [one[column] / other[column] for one, other in zip(ours, theirs)]
    if len(ratios) < 2:
        return f"{ratios[0]:.3f}"
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--test", action="append", choices=TESTS, help="only this one, or these")
    parser.add_argument("--target", default=ROOT.parent / "target", help="where ours was built")
    parser.add_argument("--peers", default=ROOT / "peers" / "target", help="where theirs were built")
    arguments = parser.parse_args()
    for test in arguments.test or TESTS:
        samples = {name: [] for name in programs(arguments)}
        names = list(samples)
        for number in range(arguments.rounds):
            # Each is the first of a round as often as the others.
            first = number % len(names)
            for name in names[first:] + names[:first]:
                samples[name].append(sample(programs(arguments)[name], test))
        print(f"\n{TESTS[test]}\n")
        print("| | µs | of processor | ratio, tidegate's | ratio of processor |")
        print("|---|---|---|---|---|")
        for name, rows in samples.items():
            passed, processor = (statistics.median(column) for column in zip(*rows))
            ratios = [ratio(samples["tidegate"], rows, column) for column in (0, 1)]
            print(f"| {name} | {passed:.1f} | {processor:.1f} | {ratios[0]} | {ratios[1]} |")


if __name__ == "__main__":
    main()

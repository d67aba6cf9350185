"""One end of a case, by asyncio: `peer.py '{"role": "client", "port": 1, ...}'`. Python 3.9 or newer.

It prints a line for each thing that happens. `act` says what it does when it has received `expect` bytes.
"""

import asyncio
import json
import os
import socket
import ssl
import sys

asked = json.loads(sys.argv[1])
SERVES = asked["role"] == "server"
VERSION = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


def say(*words):
    print(*words, flush=True)


class Context(ssl.SSLContext):
    """asyncio has no argument for a session that is to be resumed."""

    session = None

    def wrap_bio(self, *args, **kwargs):
        return super().wrap_bio(*args, session=self.session, **kwargs)


def context():
    made = Context(ssl.PROTOCOL_TLS_SERVER if SERVES else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = made.maximum_version = VERSION[asked["version"]]
    if "roots" in asked:
        made.load_verify_locations(asked["roots"])
        made.verify_mode = ssl.CERT_REQUIRED
    if "chain" in asked:
        made.load_cert_chain(asked["chain"], asked["key"])
    if "alpn" in asked:
        made.set_alpn_protocols(asked["alpn"])

    def alert(_connection, direction, _version, content, kind, _data):
        if getattr(content, "name", None) == "ALERT":
            say(direction, getattr(kind, "name", kind))

    made._msg_callback = alert
    return made


class Peer(asyncio.Protocol):
    def __init__(self, tls, over):
        self.tls = tls
        self.over = over
        self.plain = "smtp" in asked
        self.secure = False
        self.lines = b""
        self.received = bytearray()
        self.acted = False

    def connection_made(self, transport):
        self.transport = transport
        if not self.plain:
            self.opened()
        elif SERVES:
            transport.write(b"220 localhost ESMTP\r\n")

    def opened(self):
        self.secure = True
        session = self.transport.get_extra_info("ssl_object")
        protocol = session.selected_alpn_protocol() or "-"
        peer = self.transport.get_extra_info("peercert") or {}
        names = [value for _, value in peer.get("subjectAltName", ())]
        say("opened", session.version(), protocol, "reused" if session.session_reused else "new", *names)
        if "send" in asked:
            with open(asked["send"], "rb") as file:
                self.transport.write(file.read())
        elif not SERVES:
            self.transport.write(b"hello\n")
        self.echo(self.received)
        self.act_if_due()

    def data_received(self, data):
        if self.plain:
            return self.converse(data)
        self.received += data
        # asyncio may deliver before start_tls has answered the secure transport: what is written then leaves in clear.
        if self.secure:
            self.echo(data)
            self.act_if_due()

    def echo(self, data):
        if "store" not in asked and SERVES:
            self.transport.write(data)

    def act_if_due(self):
        if self.acted or len(self.received) < asked["expect"]:
            return
        self.acted = True
        if "store" in asked:
            with open(asked["store"], "wb") as file:
                file.write(self.received)
        say("received", len(self.received))
        act = asked["act"]
        if act == "close":
            if not SERVES:
                Context.session = self.transport.get_extra_info("ssl_object").session
            self.transport.close()
        elif act == "abort":
            self.transport.abort()
        elif act == "shutdown":
            self.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)

    def converse(self, data):
        self.lines += data
        while self.plain and b"\n" in self.lines:
            line, _, self.lines = self.lines.partition(b"\n")
            self.answer(line.strip())

    def answer(self, line):
        if SERVES and line.startswith(b"EHLO"):
            self.transport.write(b"250-localhost\r\n250 STARTTLS\r\n")
        elif SERVES and line == b"STARTTLS":
            self.transport.write(b"220 go ahead\r\n")
            self.start_tls()
        elif line.startswith(b"220 localhost"):
            self.transport.write(b"EHLO client\r\n")
        elif line == b"250 STARTTLS":
            self.transport.write(b"STARTTLS\r\n")
        elif line.startswith(b"220 go"):
            self.start_tls()

    def start_tls(self):
        self.plain = False
        say("starting")
        self.starting = asyncio.ensure_future(self.started())

    async def started(self):
        loop = asyncio.get_running_loop()
        name = None if SERVES else asked["name"]
        self.transport = await loop.start_tls(
            self.transport, self, self.tls, server_side=SERVES, server_hostname=name
        )
        self.opened()

    def eof_received(self):
        say("eof")

    def connection_lost(self, error):
        say("lost", "-" if error is None else type(error).__name__, error or "")
        if not self.over.done():
            self.over.set_result(None)


async def main():
    loop = asyncio.get_running_loop()
    # In debug mode it tells of handshakes that fail.
    loop.set_debug(SERVES and "send" not in asked)
    loop.slow_callback_duration = 60
    loop.set_exception_handler(
        lambda _loop, told: say("told", type(told.get("exception")).__name__, told.get("exception"))
    )
    tls = context()
    plain = "smtp" in asked
    if SERVES:
        ends = [loop.create_future() for _ in range(asked["connections"])]
        waiting = iter(ends)
        server = await loop.create_server(
            lambda: Peer(tls, next(waiting)), "127.0.0.1", 0, ssl=None if plain else tls
        )
        say("listening", server.sockets[0].getsockname()[1])
        # The test closes the standard input when it has seen enough.
        over = asyncio.gather(*ends)
        asked_to_end = loop.run_in_executor(None, sys.stdin.buffer.read)
        await asyncio.wait([over, asked_to_end], return_when=asyncio.FIRST_COMPLETED)
    for _ in range(0 if SERVES else asked["connections"]):
        over = loop.create_future()
        name = None if plain else asked["name"]
        try:
            await loop.create_connection(
                lambda: Peer(tls, over), "127.0.0.1", asked["port"], ssl=None if plain else tls,
                server_hostname=name,
            )
        except (OSError, ssl.CertificateError) as error:
            say("refused", type(error).__name__, error)
        else:
            await over
    sys.stdout.flush()
    # Not in the manner of asyncio.run: it would wait for the thread that reads the standard input.
    os._exit(0)


asyncio.run(main())

"""The client side of newline framing, over TCP, a Unix socket, or the pipes of a child process."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from urllib.parse import urlsplit

from benchmarks.wire import STEP_TIMEOUT, Connection, Duplex, endpoint


class Lines(Connection):
    """A connection with one message a line."""

    def take(self, data: bytes) -> bytes:
        """As Connection.take."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self.on_message(line)
        return rest


class _Pipes(Lines):
    """Lines that are read from one pipe and written to another."""

    def __init__(self, stdin: asyncio.WriteTransport) -> None:
        super().__init__()
        self.write, self.close = stdin.write, stdin.close

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Do nothing: the pipe for writing is known already."""


class LineWire(Duplex):
    """A session over a socket."""

    def packed(self, body: bytes, method: str, name: str) -> bytes:  # noqa: ARG002 - only HTTP sends them in headers
        """As Wire.packed."""
        return body + b"\n"


class ChildWire(LineWire):
    """A session with a child process that is a stdio server."""

    def __init__(self, process: subprocess.Popen[bytes], connection: Connection, depth: int) -> None:
        super().__init__(connection, depth)
        self._process = process
        self.pids = [process.pid]

    async def end(self) -> None:
        """As Wire.end: close its stdin, and wait until it exits."""
        await super().end()
        try:
            await asyncio.to_thread(self._process.wait, STEP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise TimeoutError(f"{self._process.args!r} did not end with its stdin") from None


async def open_socket(url: str, depth: int) -> LineWire:
    """One session at tcp://HOST:PORT or unix:///PATH."""
    loop, parts = asyncio.get_running_loop(), urlsplit(url)
    if parts.scheme == "unix":
        _, connection = await loop.create_unix_connection(Lines, parts.path)
    else:
        _, connection = await loop.create_connection(Lines, *endpoint(url))
    return LineWire(connection, depth)


async def open_child(url: str, depth: int) -> ChildWire:
    """One session with stdio:COMMAND; the words are quoted as for a shell."""
    loop = asyncio.get_running_loop()
    words = shlex.split(url.partition(":")[2])
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: ASYNC220 - nothing else runs yet
    stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, process.stdin)
    _, connection = await loop.connect_read_pipe(lambda: _Pipes(stdin), process.stdout)
    return ChildWire(process, connection, depth)

"""The client side of newline framing: over TCP, a Unix socket, or the pipes of a child."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from urllib.parse import urlsplit

from benchmarks.wire import STEP_TIMEOUT, Connection, Duplex, endpoint


class Lines(Connection):
    """A message a line."""

    def take(self, data: bytes) -> bytes:
        """As Connection.take."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self.heard(line)
        return rest


class _Pipes(Lines):
    """Lines that are read here and written to a pipe beside."""

    def __init__(self, stdin: asyncio.WriteTransport) -> None:
        super().__init__()
        self.write, self.close = stdin.write, stdin.close

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The way out is known."""


class LineWire(Duplex):
    """A socket's session."""

    def packed(self, body: bytes, method: str, name: str) -> bytes:  # noqa: ARG002 - only HTTP tells them in its head
        """As Wire.packed."""
        return body + b"\n"


class ChildWire(LineWire):
    """A child's session: a stdio server, or what looks like one."""

    def __init__(self, process: subprocess.Popen[bytes], connection: Connection, depth: int) -> None:
        super().__init__(connection, depth)
        self._process = process
        self.pids = [process.pid]

    async def end(self) -> None:
        """As Wire.end: its stdin ends, then it."""
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
    """One session with stdio:COMMAND, its words quoted as for a shell."""
    loop = asyncio.get_running_loop()
    words = shlex.split(url.partition(":")[2])
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: ASYNC220 - nothing else runs yet
    stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, process.stdin)
    _, connection = await loop.connect_read_pipe(lambda: _Pipes(stdin), process.stdout)
    return ChildWire(process, connection, depth)

"""A minimal relay: an HTTP server that passes each POST to one stdio child process and does as little else as is correct.

It has no broker, no sessions and no checks. It swaps ids, because two clients may use the same one at once, and answers 202 to
messages without an id. It understands only what load.py sends (Content-Length bodies, ids as the second member), not all of
HTTP. It prints one line that starts with `ready` and names its address.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import uvloop

from benchmarks import echo

Forward = Callable[[bytes, asyncio.WriteTransport], None]
"""Takes the body of a request, and the transport for its response."""

ECHO = (sys.executable, "-S", "-I", str(Path(echo.__file__).resolve()))
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
_LENGTH, _ID = b"content-length:", b'"id":'


def span_of_id(message: bytes) -> tuple[int, int]:
    """The start and end of a message's id; (0, 0) without one."""
    start = message.find(_ID, 0, 64) + len(_ID)
    if start < len(_ID):
        return 0, 0
    return start, message.index(b'"', start + 1) + 1 if message[start] == ord('"') else message.index(b",", start)


class HttpConnection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for responses."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's class does not derive from asyncio's

    def data_received(self, data: bytes) -> None:
        """Forward every complete request."""
        self._buffer = data = self._buffer + data if self._buffer else data
        while (end := data.find(b"\r\n\r\n") + 4) > 3:
            head = data[:end].lower()
            at = head.index(_LENGTH) + len(_LENGTH)
            stop = end + int(head[at : head.index(b"\r", at)])
            if len(data) < stop:
                return
            self._buffer, body = data[stop:], data[end:stop]
            data = self._buffer
            self._forward(body, self._transport)


class Child(asyncio.Protocol):
    """The stdio child process: requests go to it with new ids, by which its responses are matched."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(ECHO, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._waiting: dict[bytes, tuple[bytes, asyncio.WriteTransport]] = {}
        self._count = 0
        self._rest = b""

    async def connect(self) -> None:
        """Connect the child's pipes to the event loop."""
        loop = asyncio.get_running_loop()
        self._stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, self._process.stdin)
        await loop.connect_read_pipe(lambda: self, self._process.stdout)

    def forward(self, body: bytes, client: asyncio.WriteTransport) -> None:
        """Write one message to the child; uvloop writes those of one turn together."""
        start, end = span_of_id(body)
        if not start:
            self._stdin.write(body + b"\n")
            client.write(ACCEPTED)
            return
        self._count += 1
        id = b'"%d"' % self._count
        self._waiting[id] = body[start:end], client
        self._stdin.write(b"%b%b%b\n" % (body[:start], id, body[end:]))

    def data_received(self, data: bytes) -> None:
        """Send each response to the client that made the request."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            start, end = span_of_id(line)
            id, client = self._waiting.pop(line[start:end])
            client.write(OK % (len(line) - (end - start) + len(id), b"%b%b%b" % (line[:start], id, line[end:])))


async def serve() -> None:
    """Serve on a free port of the loopback until killed."""
    child = Child()
    await child.connect()
    server = await asyncio.get_running_loop().create_server(lambda: HttpConnection(child.forward), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"ready http://{host}:{port}/", file=sys.stderr, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())

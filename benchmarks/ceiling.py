"""An MCP server without a relay that answers directly on every transport: the limit of what load.py can reach.

It understands only what load.py sends, not all of HTTP or WebSocket. As a stdio server, echo.py is its own ceiling. Prints one
line that starts with `ready` and names its addresses.
"""

from __future__ import annotations

import asyncio
import re
import sys

import uvloop

from benchmarks import echo
from benchmarks.rawlines import Lines
from benchmarks.rawws import Frames, accept, frame
from benchmarks.relay import ACCEPTED, OK, HttpConnection

_KEY = re.compile(rb"sec-websocket-key: *(\S+)", re.IGNORECASE)


def _forward(body: bytes, client: asyncio.WriteTransport) -> None:
    response = echo.answer(body)
    client.write(OK % (len(response) - 1, response[:-1]) if response else ACCEPTED)


class _LineConnection(Lines):
    """A connection of lines; all answers to one read leave in one write."""

    def take(self, data: bytes) -> bytes:
        """As Connection.take."""
        *lines, rest = data.split(b"\n")
        self.write(b"".join(map(echo.answer, lines)))
        return rest

    def connection_lost(self, exc: Exception | None) -> None:
        """Do nothing: clients may disconnect."""


class _FrameConnection(Frames):
    """A WebSocket connection, handshake included."""

    masked = False

    def take(self, data: bytes) -> bytes:
        """As Connection.take; the first bytes are the handshake."""
        if data.startswith(b"GET "):
            if b"\r\n\r\n" not in data:
                return data
            key = _KEY.search(data)
            assert key, data
            head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            self.write(f"{head}Sec-WebSocket-Accept: {accept(key[1].decode())}\r\n\r\n".encode())
            self.on_message = self._answer
            return b""
        return super().take(data)

    def _answer(self, message: bytes) -> None:
        if response := echo.answer(message):
            self.write(frame(response[:-1]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Do nothing: clients may disconnect."""


async def serve(unix: str) -> None:
    """Serve on free ports of the loopback, and at the path `unix`, until killed."""
    loop, addresses = asyncio.get_running_loop(), []
    servers = []  # a server without a reference closes
    for scheme, protocol in (("http", lambda: HttpConnection(_forward)), ("ws", _FrameConnection), ("tcp", _LineConnection)):
        server = await loop.create_server(protocol, "127.0.0.1", 0)
        addresses.append(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        servers.append(server)
    servers.append(await loop.create_unix_server(_LineConnection, unix))
    print("ready", *addresses, f"unix://{unix}", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))

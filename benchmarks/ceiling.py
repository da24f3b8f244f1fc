"""No relay at all: an MCP server that answers in place on every transport, which shows what load.py itself can reach.

It understands what load.py sends, not all of HTTP or WebSocket. As a stdio server, echo.py is its own ceiling. Prints one line
that starts with `ready` and names its addresses.
"""

from __future__ import annotations

import asyncio
import re
import sys

import uvloop

from benchmarks import echo
from benchmarks.rawlines import Lines
from benchmarks.rawws import Frames, accept, frame
from benchmarks.relay import ACCEPTED, OK, Door

_KEY = re.compile(rb"sec-websocket-key: *(\S+)", re.IGNORECASE)


def _forward(body: bytes, client: asyncio.WriteTransport) -> None:
    response = echo.answer(body)
    client.write(OK % (len(response) - 1, response[:-1]) if response else ACCEPTED)


class _LinesDoor(Lines):
    """Answers lines; those of one read in one write."""

    def take(self, data: bytes) -> bytes:
        """As Connection.take."""
        *lines, rest = data.split(b"\n")
        self.write(b"".join(map(echo.answer, lines)))
        return rest

    def connection_lost(self, exc: Exception | None) -> None:
        """Clients come and go."""


class _FramesDoor(Frames):
    """Answers WebSocket messages."""

    masked = False

    def take(self, data: bytes) -> bytes:
        """As Connection.take; what comes first is the handshake."""
        if data.startswith(b"GET "):
            if b"\r\n\r\n" not in data:
                return data
            key = _KEY.search(data)
            assert key, data
            head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            self.write(f"{head}Sec-WebSocket-Accept: {accept(key[1].decode())}\r\n\r\n".encode())
            self.heard = self._answer
            return b""
        return super().take(data)

    def _answer(self, message: bytes) -> None:
        if response := echo.answer(message):
            self.write(frame(response[:-1]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Clients come and go."""


async def serve(unix: str) -> None:
    """Serve on free ports of the loopback, and at the path `unix`, until killed."""
    loop, addresses = asyncio.get_running_loop(), []
    servers = []  # one that nobody holds closes
    for scheme, protocol in (("http", lambda: Door(_forward)), ("ws", _FramesDoor), ("tcp", _LinesDoor)):
        server = await loop.create_server(protocol, "127.0.0.1", 0)
        addresses.append(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        servers.append(server)
    servers.append(await loop.create_unix_server(_LinesDoor, unix))
    print("ready", *addresses, f"unix://{unix}", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))

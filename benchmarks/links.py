"""Each of the fabric's links alone: an MCP server that answers on it at once, without edge, broker or bridge.

With a path it listens with every listener of fabric.links, on free ports of the loopback and at a Unix socket there, and prints
one line that starts with `ready` and names the addresses; without one it is a stdio server.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from benchmarks import echo
from fabric.errors import LinkError
from fabric.links.base import Link, RequestLink
from fabric.links.http import listener
from fabric.links.http.settings import HttpSettings
from fabric.links.sockets import tcp, unix
from fabric.links.stdio.own_streams import own
from fabric.mcp.jsonrpc import Message


class _Posts:
    """A Reception: of HTTP requests."""

    def on_request(self, link: RequestLink, message: Message | None) -> None:
        """Answer a POST; there is one session, and it never ends."""
        if message and (response := echo.answer(message.frame)):
            if message.method == "initialize":
                link.establish("the-only-session")
            link.send(response[:-1], final=True)
        else:
            link.accept()

    def on_waiting(self, link: RequestLink) -> None:
        """No answer takes that long here."""

    def on_disconnect(self, link: RequestLink) -> None:
        """Its answer was on its way."""


async def _converse(link: Link) -> None:
    """Answer a conversation to its end."""
    try:
        while True:
            message = await link.receive()
            if response := echo.answer(message.frame):
                link.send(response[:-1])
    except LinkError:
        await link.aclose()


async def _listen(path: Path) -> None:
    web = await listener.listen(_Posts(), HttpSettings(resolve=lambda name: name or None), _converse)
    conversations = [
        await tcp.listen(_converse, tcp.TcpSettings(server="echo")),
        await unix.listen(_converse, unix.UnixSettings(server="echo", path=path)),
    ]
    addresses = [f"{web.address}/echo/mcp", f"{web.address.replace('http', 'ws')}/echo/ws"]
    print("ready", *addresses, *(door.address for door in conversations), file=sys.stderr, flush=True)
    await asyncio.Event().wait()


async def _stdio() -> None:
    await _converse(await own("stdio", "echo"))


if __name__ == "__main__":
    uvloop.run(_listen(Path(sys.argv[1])) if sys.argv[1:] else _stdio())

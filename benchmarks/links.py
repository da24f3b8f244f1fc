"""An MCP server on each of the fabric's links alone, without edge, broker or bridge.

With a path it opens every listener of fabric.links, on free loopback ports and at a Unix socket at that path, and prints one
line that starts with `ready` and names the addresses. Without a path it is a stdio server.
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
    """A RequestHandler that answers every request at once."""

    def on_request(self, link: RequestLink, message: Message | None) -> None:
        """Answer a POST. All clients share one session, which never ends."""
        if message and (response := echo.answer(message.frame)):
            if message.method == "initialize":
                link.establish("the-only-session")
            link.send(response[:-1], final=True)
        else:
            link.accept()

    def on_waiting(self, link: RequestLink) -> None:
        """Do nothing: every request is answered at once."""

    def on_disconnect(self, link: RequestLink) -> None:
        """Do nothing: the answer has been sent."""


async def _answer_all(link: Link) -> None:
    """Answer the messages of a link until it ends."""
    try:
        while True:
            message = await link.receive()
            if response := echo.answer(message.frame):
                link.send(response[:-1])
    except LinkError:
        await link.aclose()


async def _listen(path: Path) -> None:
    web = await listener.listen(_Posts(), HttpSettings(resolve=lambda name: name or None), _answer_all)
    socket_listeners = [
        await tcp.listen(_answer_all, tcp.TcpSettings(server="echo")),
        await unix.listen(_answer_all, unix.UnixSettings(server="echo", path=path)),
    ]
    addresses = [f"{web.address}/echo/mcp", f"{web.address.replace('http', 'ws')}/echo/ws"]
    print("ready", *addresses, *(each.address for each in socket_listeners), file=sys.stderr, flush=True)
    await asyncio.Event().wait()


async def _stdio() -> None:
    await _answer_all(await own("stdio", "echo"))


if __name__ == "__main__":
    uvloop.run(_listen(Path(sys.argv[1])) if sys.argv[1:] else _stdio())

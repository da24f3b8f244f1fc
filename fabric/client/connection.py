"""The connection of one client: a transport of the MCP SDK, or a link for programs without it.

Above it: fabric/client/connect.py and membership.py, which make it. Below it: the SDK's streams and links.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from fabric.client.link import ClientLink, Open

if TYPE_CHECKING:
    from fabric.client.sdk_streams import Streams


class Connection:
    """The connection of one client to one MCP server. It opens when it is entered, and may be entered again after its end.

    `async with` yields the two streams of the MCP SDK: so it is a transport of `mcp.Client` (mcp 2.x), and gives a
    `mcp.ClientSession` (mcp 1.x) its streams. `link` is for programs without the SDK.
    """

    def __init__(self, open: Open) -> None:
        self._open = open
        self._entered: AsyncExitStack | None = None

    def link(self) -> ClientLink:
        """A link to the server, not opened yet. Each is a client of its own."""
        return ClientLink(self._open)

    async def __aenter__(self) -> Streams:
        """The streams to read and to write. Raises as Open, and RuntimeError if they are open already."""
        from fabric.client.sdk_streams import sdk_streams  # imported here: it imports the SDK

        if self._entered is not None:
            raise RuntimeError("this connection is open; each client has one of its own, and fabric.join makes many")
        self._entered = AsyncExitStack()
        try:
            return await self._entered.enter_async_context(sdk_streams(self._open))
        except BaseException:
            self._entered = None
            raise

    async def __aexit__(self, *exc: object) -> None:
        import anyio

        entered, self._entered = self._entered, None
        if entered is not None:
            with anyio.CancelScope(shield=True):  # closing takes a bounded time, also for a program that is cancelled
                await entered.aclose()

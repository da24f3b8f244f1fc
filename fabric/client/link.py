"""The link of a Python client: a Link that is opened by `async with` or `connect`, iterated over, and says its state.

Above it: fabric/client/connection.py. Below it: the link that it opens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from enum import StrEnum
from typing import Self

from fabric.errors import EndOfLink, LinkBroken, LinkClosed
from fabric.links.base import Link, LinkInfo
from fabric.mcp.jsonrpc import Message

Open = Callable[[], AbstractAsyncContextManager[Link]]
"""Opens a link, and closes it and all that it needs afterwards. Raises LinkError, BrokerError, ConfigError."""


_ENDS = (EndOfLink, LinkBroken, LinkClosed)


class LinkState(StrEnum):
    """The state of a client's link. It only goes forward."""

    NEW = "new"
    """Not opened yet."""
    OPEN = "open"
    """Frames can be sent and received."""
    CLOSED = "closed"
    """Ended: we closed it, its peer did, or it broke."""


class ClientLink:
    """A link to one MCP server, as fabric.links.base.Link describes it: JSON-RPC frames, nothing added and nothing answered.

    `async with` and `connect` open it, once. Iteration gives each Message until the end of the link.
    """

    def __init__(self, open: Open) -> None:
        self._open = open
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._link: Link | None = None
        self._state = LinkState.NEW

    def __repr__(self) -> str:
        return f"<ClientLink {self._state}>"

    @property
    def state(self) -> LinkState:
        """The state now. That a peer has ended the link is known once `receive` or `send` has met the end."""
        return self._state

    async def connect(self) -> None:
        """Open the link; does nothing if it is open. Raises LinkClosed after its end, and as Open does."""
        async with self._opening:
            if self._state is LinkState.CLOSED:
                raise LinkClosed("the link has ended; make another")
            if self._state is LinkState.NEW:
                self._link = await self._stack.enter_async_context(self._open())
                self._state = LinkState.OPEN

    async def aclose(self) -> None:
        """See Link.aclose. It also ends a link that was never opened."""
        async with self._opening:
            self._state = LinkState.CLOSED
            await self._stack.aclose()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """The next message; the iteration ends as the link does, in order. Raises LinkBroken, InvalidFrame and LinkOverflow."""
        try:
            return await self.receive()
        except (EndOfLink, LinkClosed):
            raise StopAsyncIteration from None

    @property
    def info(self) -> LinkInfo:
        """See Link.info."""
        return self._opened.info

    async def receive(self) -> Message:
        """See Link.receive."""
        link = self._opened
        try:
            return await link.receive()
        except _ENDS:
            self._state = LinkState.CLOSED
            raise

    def send(self, frame: bytes, *, event: str = "", final: bool = False) -> None:
        """See Link.send."""
        link = self._opened
        try:
            link.send(frame, event=event, final=final)
        except _ENDS:
            self._state = LinkState.CLOSED
            raise

    @property
    def unsent_bytes(self) -> int:
        """See Link.unsent_bytes."""
        return self._opened.unsent_bytes

    @property
    def unsent(self) -> Sequence[bytes]:
        """See Link.unsent."""
        return self._opened.unsent

    async def drain(self) -> None:
        """See Link.drain."""
        await self._opened.drain()

    @property
    def _opened(self) -> Link:
        if self._link is None:
            ended = self._state is LinkState.CLOSED
            raise LinkClosed("we closed the link" if ended else "open the link first: `async with`, or `await link.connect()`")
        return self._link

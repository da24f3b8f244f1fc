"""The link over a byte stream: the Link of base.py, made of the frames that have arrived and those that wait to leave.

Above it: stdio, sockets, WebSockets and the pair in memory. Below it: incoming.py and outgoing.py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine

from fabric.errors import InvalidFrame, LinkClosed
from fabric.links.base import LinkInfo
from fabric.links.mending import Mender
from fabric.links.stream.incoming import IncomingFrames
from fabric.links.stream.outgoing import OutgoingFrames
from fabric.mcp.jsonrpc import Message, parse

_TURN_FRAMES = 64
"""Frames that one link hands out before it yields to the event loop: each is handled as soon as it is received."""


class StreamLink:
    """The Link of base.py over IncomingFrames and OutgoingFrames.

    A server that does not read because it waits for us to read does not stall the link; a client that does so stalls it.
    """

    def __init__(
        self,
        info: LinkInfo,
        incoming: IncomingFrames,
        outgoing: OutgoingFrames,
        shut: Callable[[], Coroutine[None, None, None]],
        on_noise: Callable[[bytes], None] | None = None,
        mender: Mender | None = None,
    ) -> None:
        """shut: closes the transport below, in bounded time.

        on_noise: called with each frame that holds no message; without it, such a frame raises InvalidFrame. mender: on a
        server's link, finds the messages within frames that cannot be parsed.
        """
        self._info = info
        self._incoming = incoming
        self._outgoing = outgoing
        self._shut = shut
        self._on_noise = on_noise
        self._mender = mender
        self._mended: deque[Message] = deque()
        self._closing: asyncio.Task[None] | None = None
        self._taken = 0  # frames handed out since the event loop last had its turn
        to_server = not info.server
        outgoing.watch(excused=lambda: to_server and incoming.paused, stalled=incoming.end)

    @property
    def info(self) -> LinkInfo:
        """What is known of the link."""
        return self._info

    @property
    def unsent_bytes(self) -> int:
        """See base.Link.unsent_bytes."""
        return self._outgoing.unsent_bytes

    @property
    def unsent(self) -> list[bytes]:
        """See base.Link.unsent."""
        return self._outgoing.unsent

    async def receive(self) -> Message:
        """See base.Link.receive. While a peer sends without a pause, it yields to the event loop after each _TURN_FRAMES."""
        while not self._mended:
            self._taken += 1
            if self._taken > _TURN_FRAMES:
                self._taken = 0
                await asyncio.sleep(0)
            frame = self._incoming.take()
            if frame is None:
                await self._incoming.arrival()
                self._taken = 0
                continue
            try:
                return parse(frame)
            except InvalidFrame:
                if self._mender is not None and not self._incoming.over:  # else it may be a line cut off by the end
                    self._mended.extend(self._mender.take(frame))
                if self._mended:
                    continue
                if self._on_noise is None:
                    raise
                self._on_noise(frame)
        return self._mended.popleft()

    def send(self, frame: bytes, *, event: str = "", final: bool = False) -> None:  # noqa: ARG002 - for HTTP's streams only
        """See base.Link.send."""
        self._outgoing.send(frame)

    async def drain(self) -> None:
        """See base.Link.drain."""
        await self._outgoing.drain()

    async def aclose(self) -> None:
        """See base.Link.aclose. Cancelling it does not stop the closing."""
        if self._closing is None:
            closed = LinkClosed(f"the {self._info.transport} link {self._info.id} is closed")
            self._incoming.close(closed)
            self._outgoing.close(closed)
            self._closing = asyncio.create_task(self._shut())
        await asyncio.shield(self._closing)

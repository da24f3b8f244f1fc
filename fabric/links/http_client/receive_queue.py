"""The queue of messages that have arrived from a remote server, in all answers and streams of one link."""

from __future__ import annotations

import asyncio
from collections import deque

from fabric.errors import InvalidFrame, LinkClosed, LinkError, LinkOverflow
from fabric.mcp.jsonrpc import Message

_FULL_BYTES = 1024 * 1024
_ROOM_BYTES = 256 * 1024
_MESSAGE_OVERHEAD_BYTES = 64
"""Memory that a queued message takes besides its bytes, counted so that a flood of tiny messages is bounded too."""


class ReceiveQueue:
    """Messages in order of arrival. The streams that fill it wait (`room`) above 1 MiB until it is below 256 KiB."""

    def __init__(self) -> None:
        self._items: deque[Message | LinkOverflow | InvalidFrame] = deque()
        self._bytes = 0
        self._end: LinkError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()

    def put(self, item: Message | LinkOverflow | InvalidFrame) -> None:
        """Queue a message, or the error to raise in its place. After the end it is dropped."""
        if self._end is None:
            self._items.append(item)
            if isinstance(item, Message):
                self._bytes += len(item.frame) + _MESSAGE_OVERHEAD_BYTES
                if self._bytes > _FULL_BYTES:
                    self._room.clear()
            self._wake()

    async def room(self) -> None:
        """Wait until the queue has room."""
        if not self._room.is_set():
            await self._room.wait()

    def end(self, error: LinkError) -> None:
        """End the queue: `receive` raises `error` after the messages that have arrived. Only the first call counts."""
        if self._end is None:
            self._end = error
            self._room.set()
            self._wake()

    def close(self, error: LinkClosed) -> None:
        """Drop the messages that have arrived: we closed the link, and `receive` raises `error` from now on."""
        self._end = error
        self._items.clear()
        self._room.set()
        self._wake()

    async def receive(self) -> Message:
        """See base.Link.receive."""
        while not self._items:
            if self._end is not None:
                raise self._end.anew()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        item = self._items.popleft()
        if not isinstance(item, Message):
            raise item
        self._bytes -= len(item.frame) + _MESSAGE_OVERHEAD_BYTES
        if self._bytes < _ROOM_BYTES:
            self._room.set()
        return item

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

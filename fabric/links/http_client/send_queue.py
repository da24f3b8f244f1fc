"""What waits to be carried to a remote server: in order, one at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from fabric.errors import LinkBroken, LinkClosed, LinkError
from fabric.mcp.jsonrpc import Message

_LITTLE_BYTES = 256 * 1024
_MESSAGE_OVERHEAD_BYTES = 64


class SendQueue:
    """`carry(message)` is awaited for each that is queued, before the next. `failed` hears what it raises.

    waiting_bytes: of what was counted and has not left.
    """

    def __init__(self, carry: Callable[[Message], Coroutine[Any, Any, None]], failed: Callable[[LinkError], None]) -> None:
        self._carry = carry
        self._failed = failed
        self._queue: deque[Message] = deque()
        self.waiting_bytes = 0
        self._sender: asyncio.Task[None] | None = None
        self._little = asyncio.Event()
        self._little.set()
        self._end: LinkError | None = None

    def check(self) -> None:
        """Raise the end, if there is one."""
        if self._end is not None:
            raise self._end.anew()

    def count(self, message: Message) -> None:
        """It waits, here or with its sender, until `release`."""
        self.waiting_bytes += len(message.frame) + _MESSAGE_OVERHEAD_BYTES
        if self.waiting_bytes > _LITTLE_BYTES:
            self._little.clear()

    def release(self, message: Message) -> None:
        """It no longer waits: a connection has it, or nobody wants it."""
        self.waiting_bytes -= len(message.frame) + _MESSAGE_OVERHEAD_BYTES
        if self.waiting_bytes <= _LITTLE_BYTES:
            self._little.set()

    def put(self, message: Message) -> None:
        """Queue it; it has been counted."""
        self._queue.append(message)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._queue:
                await self._carry(self._queue.popleft())
        except LinkError as error:
            self._failed(error)
        except Exception as error:
            self._failed(LinkBroken(f"a message could not be sent: {type(error).__name__}"))
            raise
        finally:
            self._sender = None

    async def drain(self) -> None:
        """As base.Link.drain."""
        while self._end is None and not self._little.is_set():
            await self._little.wait()
        self.check()

    async def flush(self, timeout: float) -> None:
        """Wait until what is queued has left, at most `timeout` seconds."""
        if self._sender is not None:
            await asyncio.wait({self._sender}, timeout=timeout)

    def end(self, error: LinkError) -> None:
        """Nothing more can be queued. The first end counts, but that we closed counts more."""
        if self._end is None or isinstance(error, LinkClosed):
            self._end = error
        self._little.set()

    @property
    def queued(self) -> list[Message]:
        """What no carrier has, in order."""
        return list(self._queue)

    def stop(self) -> asyncio.Task[None] | None:
        """Drop what is queued; the sender that was cancelled, unless it is the caller."""
        self._queue.clear()
        sender = self._sender
        if sender is None or sender is asyncio.current_task():
            return None
        sender.cancel()
        return sender

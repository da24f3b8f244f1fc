"""The queue of messages to a remote server, sent in order, one at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from fabric.errors import LinkBroken, LinkClosed, LinkError
from fabric.mcp.jsonrpc import Message

_LITTLE_BYTES = 256 * 1024
"""Up to this many bytes `drain` does not wait for."""
_MESSAGE_OVERHEAD_BYTES = 64
"""See receive_queue.py."""


class SendQueue:
    """Messages in the order of sending. It also counts the bytes of messages sent beside it, such as modern requests."""

    def __init__(self, carry: Callable[[Message], Coroutine[Any, Any, None]], failed: Callable[[LinkError], None]) -> None:
        """carry: awaited for each message, before the next. failed: called with the error that `carry` raises."""
        self._carry = carry
        self._failed = failed
        self._queue: deque[Message] = deque()
        self.waiting_bytes = 0
        """How many bytes were counted and not released."""
        self._sender: asyncio.Task[None] | None = None
        self._little = asyncio.Event()
        self._little.set()
        self._end: LinkError | None = None

    def check(self) -> None:
        """Raise the end's error, if the queue has ended."""
        if self._end is not None:
            raise self._end.anew()

    def count(self, message: Message) -> None:
        """Count a message that waits to be sent, until `release`."""
        self.waiting_bytes += len(message.frame) + _MESSAGE_OVERHEAD_BYTES
        if self.waiting_bytes > _LITTLE_BYTES:
            self._little.clear()

    def release(self, message: Message) -> None:
        """Stop counting a message: a connection carries it, or it was cancelled."""
        self.waiting_bytes -= len(message.frame) + _MESSAGE_OVERHEAD_BYTES
        if self.waiting_bytes <= _LITTLE_BYTES:
            self._little.set()

    def put(self, message: Message) -> None:
        """Queue a message, which has been counted."""
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
        """See base.Link.drain."""
        while self._end is None and not self._little.is_set():
            await self._little.wait()
        self.check()

    async def flush(self, timeout: float) -> None:
        """Wait until the queue is empty, at most `timeout` seconds."""
        if self._sender is not None:
            await asyncio.wait({self._sender}, timeout=timeout)

    def end(self, error: LinkError) -> None:
        """End the queue: nothing more can be sent. The first error counts, unless we close the link."""
        if self._end is None or isinstance(error, LinkClosed):
            self._end = error
        self._little.set()

    @property
    def queued(self) -> list[Message]:
        """The messages that `carry` was not called with, in order."""
        return list(self._queue)

    def stop(self) -> asyncio.Task[None] | None:
        """Drop the queued messages and cancel the task that sends. Returns that task, unless it is the current one."""
        self._queue.clear()
        sender = self._sender
        if sender is None or sender is asyncio.current_task():
            return None
        sender.cancel()
        return sender

"""A subscription to messages that a broker pushes and does not keep: it holds those that the reader has not received."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from fabric.brokers.base import Delivery
from fabric.errors import BrokerClosed, BrokerError

LARGEST_MAILBOX_BYTES = 128 * 1024 * 1024
"""A fuller mailbox drops messages, as brokers do for a consumer too slow; lanes notice the gap and send again."""


class Mailbox:
    """Deliveries in order of arrival, bounded in bytes, for one reader of an inbox, a topic or unkept work. See Subscription.

    The adapter calls `put` for each delivery, and `end` when the subscription ends.
    """

    def __init__(self, leave: Callable[[Mailbox], Awaitable[None]]) -> None:
        """Start empty. The adapter's `leave` is awaited when the reader closes the subscription."""
        self._leave = leave
        self._items: deque[Delivery] = deque()
        self._held_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._end: BrokerError | None = None

    def put(self, delivery: Delivery) -> bool:
        """Add a delivery and wake the reader. False, and nothing added, when the mailbox is full or has ended."""
        size = len(delivery.body)
        if self._end is not None or self._held_bytes + size > LARGEST_MAILBOX_BYTES:
            return False
        self._items.append(delivery)
        self._held_bytes += size
        self._wake()
        return True

    def end(self, error: BrokerError) -> None:
        """Have receive() raise a copy of `error` after the deliveries that are here. Only the first call counts."""
        self._end = self._end or error
        self._wake()

    @property
    def ended(self) -> bool:
        """Whether the subscription has ended."""
        return self._end is not None

    def clear(self) -> None:
        """Drop the deliveries that are here."""
        self._items.clear()
        self._held_bytes = 0

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See Subscription. Cancelling it takes no delivery."""
        while not self._items:
            if self._end is not None:
                raise self._end.anew()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        taken = [self._items.popleft() for _ in range(min(limit, len(self._items)))]
        self._held_bytes -= sum(len(delivery.body) for delivery in taken)
        return taken

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Do nothing: the broker keeps nothing."""

    async def nack(self, deliveries: Sequence[Delivery]) -> None:
        """Do nothing: the broker keeps nothing."""

    async def aclose(self) -> None:
        """See Subscription."""
        self.clear()
        self.end(BrokerClosed("the subscription is closed"))
        await self._leave(self)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

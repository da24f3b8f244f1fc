"""What a connection has received and nobody has asked for yet, for brokers that push."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from fabric.brokers.base import Delivery
from fabric.errors import BrokerError

LARGEST_MAILBOX_BYTES = 128 * 1024 * 1024
"""A mailbox this full takes no more, as brokers themselves drop for a consumer too slow; lanes find the gap and ask again."""


class Mailbox:
    """Deliveries in order of arrival, bounded in bytes, for one reader."""

    def __init__(self) -> None:
        self._items: deque[Delivery] = deque()
        self._held_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._end: BrokerError | None = None

    def put(self, delivery: Delivery) -> bool:
        """Add one and wake the reader. False, and nothing added, when it is full or has ended."""
        size = len(delivery.body)
        if self._end is not None or self._held_bytes + size > LARGEST_MAILBOX_BYTES:
            return False
        self._items.append(delivery)
        self._held_bytes += size
        self._wake()
        return True

    def end(self, error: BrokerError) -> None:
        """Nothing more will come: the reader gets what is here, then such an error, again and again. The first end counts."""
        self._end = self._end or error
        self._wake()

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._end is not None

    def clear(self) -> None:
        """Forget what is here."""
        self._items.clear()
        self._held_bytes = 0

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Subscription.receive: at least one delivery, at most `limit`. Cancelling it takes nothing out."""
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

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

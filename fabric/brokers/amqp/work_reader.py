"""How a work queue is read from AMQP. amqp.py says what it is."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import NamedTuple

from aiormq import Channel
from aiormq.abc import DeliveredMessage

from fabric.brokers.amqp.connection import AmqpConnection
from fabric.brokers.base import Delivery
from fabric.errors import BrokerClosed, BrokerError

_CONSUMER = "work"

MOST_WORK_AT_ONCE = 16
"""Messages taken from a work queue at once, so that competing consumers share a burst."""


class _Held(NamedTuple):
    """A delivery's token: which reader got it, so that no other acts on it, and its tag on that reader's channel."""

    reader: WorkReader
    tag: int


class WorkReader:
    """One consumer of a work queue, on a channel of its own. See Subscription.

    It consumes only while somebody waits for work, each time with a prefetch of what was asked for: who has no room takes
    nothing from the others.
    """

    def __init__(self, queue: str, connection: AmqpConnection, channel: Channel) -> None:
        self.queue = queue
        self._connection = connection
        self._channel = channel
        self._ready: deque[Delivery] = deque()
        self._held: set[int] = set()
        self._prefetch = 0
        self._consuming = False
        self._turn = asyncio.Lock()
        self._waiter: asyncio.Future[None] | None = None
        self._end: BrokerError | None = None

    async def prove(self) -> None:
        """Consume for a moment: only then the broker says whether we may. Raises BrokerDenied, BrokerUnavailable."""
        try:
            await self._connection.ask(self._consume(1), "read")
            await self._connection.ask(self._stop())
        except asyncio.CancelledError:
            self._connection.start(self._channel.close())  # or it would consume, and nobody would read
            raise
        self._connection.follow(self._channel, "read")
        await self.nack(self._ready)
        self._ready.clear()

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See Subscription."""
        while True:
            if self._end is not None:
                raise self._end.anew()
            if self._ready:
                return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
            if not self._consuming:
                self._consuming = True
                self._connection.start(self._consume(min(limit, MOST_WORK_AT_ONCE)))
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See Subscription."""
        await self._settle([self._channel.basic_ack(tag, wait=False) for tag in self._release(deliveries)])

    async def nack(self, deliveries: Sequence[Delivery]) -> None:
        """See Subscription."""
        await self._settle([self._channel.basic_nack(tag, wait=False) for tag in self._release(deliveries)])

    async def aclose(self) -> None:
        """See Subscription."""
        if not isinstance(self._end, BrokerClosed):
            self._end = BrokerClosed("the subscription is closed")
            self._wake()
            with suppress(BrokerError):
                await self._connection.ask(self._channel.close())

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._end is not None

    def end(self, error: BrokerError) -> None:
        """Reading raises such an error from now on; the first end counts."""
        self._end = self._end or error
        self._wake()

    async def _consume(self, most: int) -> None:
        """One consumer after the other: its end is heard, with all that came before, before the next begins."""
        async with self._turn:
            if most != self._prefetch:
                self._prefetch = most
                await self._channel.basic_qos(prefetch_count=most)
            await self._channel.basic_consume(self.queue, self._delivered, consumer_tag=_CONSUMER)

    async def _stop(self) -> None:
        async with self._turn:
            await self._channel.basic_cancel(_CONSUMER)

    async def _delivered(self, message: DeliveredMessage) -> None:
        if self._consuming:
            self._consuming = False
            self._connection.start(self._stop())
        tag = message.delivery_tag or 0
        self._held.add(tag)
        self._ready.append(Delivery(message.body, _Held(self, tag), bool(message.redelivered)))
        self._wake()

    async def _settle(self, saying: Sequence[Awaitable[None]]) -> None:
        """Say it without waiting for an answer, and to the end also if we are cancelled."""

        async def say() -> None:
            for one in saying:
                await one

        if saying:
            with suppress(BrokerError):
                await self._connection.ask(say())

    def _release(self, deliveries: Sequence[Delivery]) -> list[int]:
        tokens = [delivery.token for delivery in deliveries]
        tags = [token.tag for token in tokens if isinstance(token, _Held) and token.reader is self and token.tag in self._held]
        self._held.difference_update(tags)
        return tags if self._end is None else []

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

"""Reads work from RabbitMQ, with as much credit as a bridge has room. adapter.py describes the queue."""

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
"""The most messages that a reader takes at once, so that competing consumers share a burst."""


class _Held(NamedTuple):
    """A delivery's token."""

    reader: WorkReader
    """The reader that got the delivery; no other acts on it."""
    tag: int
    """The delivery's tag on that reader's channel."""


class WorkReader:
    """One consumer of a work queue, on a channel of its own. See Subscription.

    It consumes only while a receive() waits, with that call's limit as its prefetch, so that a bridge without room takes no
    work from others.
    """

    def __init__(self, queue: str, connection: AmqpConnection, channel: Channel) -> None:
        self.queue = queue
        """The queue's name."""
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
        """Consume for a moment: only then the broker checks the right to read. Raises BrokerDenied, BrokerUnavailable."""
        try:
            await self._connection.ask(self._consume(1), "read")
            await self._connection.ask(self._stop())
        except asyncio.CancelledError:
            self._connection.start(self._channel.close())  # otherwise it would go on consuming without a reader
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
        """Whether nothing more will arrive."""
        return self._end is not None

    def end(self, error: BrokerError) -> None:
        """Have receive() raise a copy of `error` from now on. Only the first call counts."""
        self._end = self._end or error
        self._wake()

    async def _consume(self, most: int) -> None:
        """Consume, once the former consumer has ended and all its messages have arrived."""
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

    async def _settle(self, frames: Sequence[Awaitable[None]]) -> None:
        """Send all frames, also if the caller is cancelled. They have no answer."""

        async def send() -> None:
            for frame in frames:
                await frame

        if frames:
            with suppress(BrokerError):
                await self._connection.ask(send())

    def _release(self, deliveries: Sequence[Delivery]) -> list[int]:
        tokens = [delivery.token for delivery in deliveries]
        tags = [token.tag for token in tokens if isinstance(token, _Held) and token.reader is self and token.tag in self._held]
        self._held.difference_update(tags)
        return tags if self._end is None else []

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

"""Reads work from JetStream: all readers of a server share one pull consumer, and each keeps a pull request open.

JetStream gives a message to one reader, and to another if that reader is silent about it for ACK_WAIT. A living reader renews
the messages that it holds every two seconds. The consumer is deleted INACTIVE seconds after its last reader; messages stay.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from fabric.brokers.base import Delivery
from fabric.brokers.nats.client import Msg, NatsError, Subscription
from fabric.brokers.nats.jetstream import API, JetStream
from fabric.errors import BrokerClosed, BrokerError

ACK_WAIT = 6
"""Seconds without a renewal after which JetStream gives a reader's messages to others."""

INACTIVE = 60
"""Seconds that a consumer outlives its last reader."""

MOST_WORK_AT_ONCE = 16
"""The most messages of one pull request, so that competing readers share a burst."""

PULL = 3.0
"""Seconds that a pull request is open: the longest time that the deletion of a consumer can go unnoticed."""

ACK, NAK, WORKING = b"+ACK", b"-NAK", b"+WPI"


class _Held(NamedTuple):
    """A delivery's token."""

    reader: WorkReader
    """The reader that got the delivery; no other acts on it."""
    number: int
    """The message's number in the stream."""


class _Hold(msgspec.Struct):
    """A message that this reader holds."""

    reply: str
    """The subject on which to acknowledge it."""
    renewed: float
    """When the message was delivered or last renewed, by the loop's clock."""


class WorkReader:
    """One reader of one server's queue. See Subscription."""

    def __init__(self, stream: JetStream, name: str, consumer: str, round_trip: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._name = name
        self._consumer = consumer
        self._round_trip = round_trip
        self._ready: deque[Delivery] = deque()
        self._unclaimed: Delivery | None = None  # was ready at the last renewal
        self._held: dict[int, _Hold] = {}
        self._awaited = 0  # how many messages the open pull request may still bring
        self._open_until = 0.0  # when the open pull request ends
        self._gone = False  # whether the consumer was deleted
        self._changed = asyncio.Event()
        self._end: BrokerError | None = None
        self._pulls = f"{API}.CONSUMER.MSG.NEXT.{stream.stream}.{consumer}"
        self._tail = f"work.{id(self):x}"
        self._deliver_to = stream.replies.subject(self._tail)
        self._now = asyncio.get_running_loop().time

    async def open(self) -> None:
        """Join the consumer, which is made if it does not exist. Raises BrokerDenied, a kind of BrokerUnavailable."""
        self._subscription: Subscription = await self._stream.replies.listen(self._tail, self._take)
        await self._enter()

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See Subscription."""
        while self._end is None and not self._ready:
            if self._gone:
                await self._return()
                continue
            if self._awaited <= 0 or self._now() > self._open_until:
                await self._pull(min(limit, MOST_WORK_AT_ONCE))
            self._changed.clear()
            if self._end is None and not self._ready and not self._gone:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self._open_until):
                        await self._changed.wait()
        if self._end is not None:
            raise self._end.anew()
        return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See Subscription."""
        await self._settle(ACK, [delivery.token for delivery in deliveries])

    async def nack(self, deliveries: Sequence[Delivery]) -> None:
        """See Subscription."""
        await self._settle(NAK, [delivery.token for delivery in deliveries])

    async def aclose(self) -> None:
        """See Subscription."""
        if isinstance(self._end, BrokerClosed):
            return
        self._end = BrokerClosed("the subscription is closed")
        self._changed.set()
        with suppress(NatsError):  # already closed, or the connection is lost
            await self._stream.client.stop_sending(self._subscription)
            await self._round_trip()
            await self._settle(NAK, [_Held(self, number) for number in self._held])
            await self._subscription.unsubscribe()

    @property
    def ended(self) -> bool:
        """Whether the subscription has ended."""
        return self._end is not None

    async def renew(self) -> None:
        """Renew the messages that we hold, and give back those that no receive() has taken since the last renewal."""
        now = self._now()
        if self._ready and self._ready[0] is self._unclaimed:
            await self.nack([*self._ready])
            self._ready.clear()
        self._unclaimed = self._ready[0] if self._ready else None
        self._held = {number: hold for number, hold in self._held.items() if now - hold.renewed < ACK_WAIT}
        for hold in self._held.values():
            hold.renewed = now
            with suppress(NatsError):
                await self._stream.client.publish(hold.reply, WORKING)

    def end(self, error: BrokerError) -> None:
        """Have receive() raise a copy of `error` from now on. Only the first call counts."""
        self._end = self._end or error
        self._changed.set()

    async def _enter(self) -> None:
        await self._stream.ask(
            f"CONSUMER.CREATE.{self._stream.stream}.{self._consumer}.{self._name}",
            {
                "stream_name": self._stream.stream,
                "config": {
                    "name": self._consumer,
                    "durable_name": self._consumer,
                    "filter_subject": self._name,
                    "deliver_policy": "all",
                    "ack_policy": "explicit",
                    "ack_wait": ACK_WAIT * 1_000_000_000,
                    "max_ack_pending": -1,
                    "inactive_threshold": INACTIVE * 1_000_000_000,
                    "mem_storage": True,
                },
            },
        )

    async def _return(self) -> None:
        """Join again, because the consumer was deleted, as after a long time without room for work."""
        self._gone, self._awaited = False, 0
        try:
            await self._enter()
        except BrokerError as error:
            self._stream.lose(str(error), type(error))

    async def _pull(self, count: int) -> None:
        self._awaited, self._open_until = count, self._now() + PULL + 1
        request = {"batch": count, "expires": int(PULL * 1_000_000_000)}
        with suppress(NatsError):  # the connection is lost, and `end` is called
            await self._stream.client.publish(self._pulls, msgspec.json.encode(request), self._deliver_to)

    def _take(self, message: Msg) -> None:
        if not message.reply:  # a status: the end of the pull request
            self._gone = self._gone or (message.headers or {}).get("Status") in ("409", "503")
            self._awaited = 0
            self._changed.set()
            return
        try:
            metadata = message.metadata
        except (NatsError, ValueError):
            return  # not from JetStream
        self._awaited -= 1
        known = metadata.sequence.stream in self._held
        self._held[metadata.sequence.stream] = _Hold(message.reply, self._now())
        if not known:  # after a stall of our own we may get a message again that we hold
            token = _Held(self, metadata.sequence.stream)
            self._ready.append(Delivery(message.data, token, redelivered=metadata.num_delivered > 1))
            self._changed.set()

    async def _settle(self, word: bytes, tokens: Sequence[object]) -> None:
        now = self._now()
        for token in tokens:
            hold = self._held.pop(token.number, None) if isinstance(token, _Held) and token.reader is self else None
            if hold is not None and now - hold.renewed < ACK_WAIT:  # later another reader may hold it
                with suppress(NatsError):
                    await self._stream.client.publish(hold.reply, word)

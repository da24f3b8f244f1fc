"""Reads a work queue from JetStream: all readers of a server share one pull consumer, and each keeps a request standing.

JetStream gives a message to one reader and, if that reader says nothing about it for ACK_WAIT, to another. A living reader says
every two seconds that it still works on what it holds. The consumer goes INACTIVE seconds after its last reader; messages stay.
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
"""Seconds without a sign of life after which JetStream gives the messages of a reader to others."""

INACTIVE = 60
"""Seconds that a consumer outlives its last reader."""

MOST_WORK_AT_ONCE = 16
"""Messages that one request asks for, so that competing readers share a burst."""

PULL = 3.0
"""Seconds that a request stands before it is made again: the longest time that the end of a consumer stays unnoticed."""

ACK, NAK, WORKING = b"+ACK", b"-NAK", b"+WPI"


class _Held(NamedTuple):
    """A delivery's token: the reader that got it, so that no other acts on it, and its number in the stream."""

    reader: WorkReader
    number: int


class _Hold(msgspec.Struct):
    """A message that this reader holds."""

    reply: str
    """The subject on which to acknowledge it."""
    renewed: float
    """When JetStream last heard of it from us, by the loop's clock."""


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
        self._awaited = 0  # messages the standing request may still bring
        self._stands_until = 0.0
        self._gone = False
        self._changed = asyncio.Event()
        self._end: BrokerError | None = None
        self._pulls = f"{API}.CONSUMER.MSG.NEXT.{stream.stream}.{consumer}"
        self._tail = f"work.{id(self):x}"
        self._deliver_to = stream.replies.subject(self._tail)
        self._now = asyncio.get_running_loop().time

    async def open(self) -> None:
        """Join the consumer, made if it is not there. Raises BrokerDenied, a kind of BrokerUnavailable."""
        self._subscription: Subscription = await self._stream.replies.listen(self._tail, self._take)
        await self._enter()

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See Subscription."""
        while self._end is None and not self._ready:
            if self._gone:
                await self._return()
                continue
            if self._awaited <= 0 or self._now() > self._stands_until:
                await self._pull(min(limit, MOST_WORK_AT_ONCE))
            self._changed.clear()
            if self._end is None and not self._ready and not self._gone:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self._stands_until):
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
            # unsubscribe() forgets it at once, and messages on their way here would wait for ACK_WAIT
            await self._stream.client._send_unsubscribe(self._subscription._id)
            await self._round_trip()
            await self._settle(NAK, [_Held(self, number) for number in self._held])
            await self._subscription.unsubscribe()

    @property
    def ended(self) -> bool:
        """Whether nothing more will arrive."""
        return self._end is not None

    async def renew(self) -> None:
        """Tell JetStream what we still hold; give back what no receive() has asked for since the last renewal."""
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
        """Make reading raise such an error from now on. Only the first call counts."""
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
        """Join again: the consumer is gone, as after a long time without room for work."""
        self._gone, self._awaited = False, 0
        try:
            await self._enter()
        except BrokerError as error:
            self._stream.lose(str(error), type(error))

    async def _pull(self, count: int) -> None:
        self._awaited, self._stands_until = count, self._now() + PULL + 1
        request = {"batch": count, "expires": int(PULL * 1_000_000_000)}
        with suppress(NatsError):  # the connection is lost, which ends us
            await self._stream.client.publish(self._pulls, msgspec.json.encode(request), self._deliver_to)

    def _take(self, message: Msg) -> None:
        if not message.reply:  # no message, but the end of the request
            self._gone = self._gone or (message.headers or {}).get("Status") in ("409", "503")
            self._awaited = 0
            self._changed.set()
            return
        try:
            about = message.metadata
        except (NatsError, ValueError):
            return  # not from JetStream
        self._awaited -= 1
        known = about.sequence.stream in self._held
        self._held[about.sequence.stream] = _Hold(message.reply, self._now())
        if not known:  # after a stall of our own we may get what we hold
            token = _Held(self, about.sequence.stream)
            self._ready.append(Delivery(message.data, token, redelivered=about.num_delivered > 1))
            self._changed.set()

    async def _settle(self, word: bytes, tokens: Sequence[object]) -> None:
        now = self._now()
        for token in tokens:
            hold = self._held.pop(token.number, None) if isinstance(token, _Held) and token.reader is self else None
            if hold is not None and now - hold.renewed < ACK_WAIT:  # else it is somebody else's by now
                with suppress(NatsError):
                    await self._stream.client.publish(hold.reply, word)

"""How a work queue is read from JetStream: a pull consumer that all readers of a server share, and a standing request of each.

JetStream gives a message to one reader and, when he has not said anything about it for ACK_WAIT, to another. Who lives says
every two seconds that he still holds it. The consumer goes INACTIVE seconds after its last reader; its messages stay.
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
"""Seconds without a sign of life after which another reader gets what one holds."""

INACTIVE = 60
"""Seconds a consumer outlives its last reader."""

MOST_WORK_AT_ONCE = 16
"""Messages one request asks for, so that competing readers share a burst."""

PULL = 3.0
"""Seconds such a request stands before it is made again; so long does one stay unheard that met its consumer's end."""

ACK, NAK, WORKING = b"+ACK", b"-NAK", b"+WPI"


class _Held(NamedTuple):
    """A delivery's token: which reader got it, so that no other acts on it, and its number in the stream."""

    reader: WorkReader
    number: int


class _Hold(msgspec.Struct):
    """A message in our hands: where to say what becomes of it, and when we last did."""

    reply: str
    said: float


class WorkReader:
    """One reader of one server's queue. See Subscription."""

    def __init__(self, stream: JetStream, name: str, consumer: str, round_trip: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._name = name
        self._consumer = consumer
        self._round_trip = round_trip
        self._ready: deque[Delivery] = deque()
        self._unasked: Delivery | None = None
        self._held: dict[int, _Hold] = {}
        self._awaited = 0  # messages the standing request may still bring
        self._stands_until = 0.0
        self._gone = False
        self._changed = asyncio.Event()
        self._end: BrokerError | None = None
        self._pulls = f"{API}.CONSUMER.MSG.NEXT.{stream.stream}.{consumer}"
        self._tail = f"work.{id(self):x}"
        self._now = asyncio.get_running_loop().time

    async def open(self) -> None:
        """Enter the consumer, made if it is not there. Raises BrokerDenied, a kind of BrokerUnavailable."""
        self._subscription: Subscription = await self._stream.listen(self._tail, self._take)
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
        """Whether nothing more will come."""
        return self._end is not None

    async def renew(self) -> None:
        """Say that we still hold what we hold, and give back what nobody here has asked for since the last time."""
        now = self._now()
        if self._ready and self._ready[0] is self._unasked:
            await self.nack([*self._ready])
            self._ready.clear()
        self._unasked = self._ready[0] if self._ready else None
        self._held = {number: hold for number, hold in self._held.items() if now - hold.said < ACK_WAIT}
        for hold in self._held.values():
            hold.said = now
            with suppress(NatsError):
                await self._stream.client.publish(hold.reply, WORKING)

    def end(self, error: BrokerError) -> None:
        """Reading raises such an error from now on; the first end counts."""
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
        """The consumer is gone, as after a long time without room for work: enter it again."""
        self._gone, self._awaited = False, 0
        try:
            await self._enter()
        except BrokerError as error:
            self._stream.lose(str(error), type(error))

    async def _pull(self, count: int) -> None:
        self._awaited, self._stands_until = count, self._now() + PULL + 1
        request = {"batch": count, "expires": int(PULL * 1_000_000_000)}
        with suppress(NatsError):  # the connection is lost, which ends us
            await self._stream.client.publish(self._pulls, msgspec.json.encode(request), self._stream.subject(self._tail))

    def _take(self, message: Msg) -> None:
        if not message.reply:  # not a message, but what became of the request
            self._gone = self._gone or (message.headers or {}).get("Status") in ("409", "503")
            self._awaited = 0
            self._changed.set()
            return
        try:
            about = message.metadata
        except (NatsError, ValueError):
            return  # not from JetStream, whoever sent it here
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
            if hold is not None and now - hold.said < ACK_WAIT:  # else it is somebody else's by now
                with suppress(NatsError):
                    await self._stream.client.publish(hold.reply, word)

"""The bus: sends and receives packs for one process through a broker, over one connection at a time, and reconnects.

It connects with backoff, reads inbox, announcements and the work queues that the core consumes, and writes as one batch what
gathered during the last write. It retries no publish: it reports a pack that was not confirmed, and the core decides.

Above it: the node. Below it: the broker adapters, and the policy of retries.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from typing import Any

from fabric.addressing import ANNOUNCEMENTS, Channel, ChannelKind, inbox, work
from fabric.brokers import registry
from fabric.brokers.base import Broker, Delivery, OutgoingMessage, Subscription
from fabric.core.effects import Effect, Publish
from fabric.core.events import BrokerConnected, BrokerLost, Event, PackArrived, PackNotConfirmed, WorkArrived
from fabric.envelope import Pack, decode, encode
from fabric.errors import BrokerDenied, BrokerError, InvalidEnvelope, PublishFailed, TransportError
from fabric.runtime.retry import Dialer

log = logging.getLogger(__name__)

RECONNECT_AFTER = 1.0
"""The fewest seconds from one connection to the next, if the first one fails at once, as for lack of a right."""
MAX_TURNS = 4
"""Turns of the event loop for which packs gather before they are written, as long as each brings more."""
BATCH = 256
"""How many deliveries are read at a time."""


class Bus:
    """One process on one broker."""

    def __init__(
        self,
        url: str,
        fabric: str,
        incarnation: str,
        *,
        feed: Callable[[Event], None],
        transmit: Callable[[], list[Effect]],
        credit: Callable[[str], int],
        ended: Callable[[asyncio.Task[None]], None],
        dialer: Dialer,
    ) -> None:
        """The bus of the process `incarnation` at the broker of this URL; `start` connects it.

        feed: called with each event. transmit: returns the packs that wait in the lanes. credit: returns how much work of a
        server may be received. ended: called with each task that ends; after one that failed, the process cannot go on.
        """
        self._url = url
        self._where = registry.redacted(url)
        self._fabric = fabric
        self._incarnation = incarnation
        self._feed = feed
        self._transmit = transmit
        self._credit = credit
        self._ended = ended
        self._dialer = dialer
        self._broker: Broker | None = None
        self._queue: list[Publish] = []
        self._wake = asyncio.Event()
        self._more = asyncio.Event()
        self.starved = 0  # readers of work that wait for credit
        self._served: set[str] = set()
        self._readers: dict[Channel, asyncio.Task[None]] = {}
        self._deliveries: dict[int, tuple[Subscription, Delivery]] = {}
        self._numbers = count(1)
        self._acks: list[tuple[int, bool]] = []
        self._dropped: Counter[Channel] = Counter()
        self._denied = False  # whether the log says so of this connection
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._written = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether the broker is connected."""
        return self._broker is not None

    # ------------------------------------------------------------ for effects
    def publish(self, effect: Publish) -> None:
        """Queue a pack, to be written once the bus is woken."""
        self._queue.append(effect)

    def consume(self, server: str) -> None:
        """Read the work queue of this server, now and after each reconnect."""
        self._served.add(server)
        if self._broker is not None:
            self._read(self._broker, work(server))

    def pause(self, server: str) -> None:
        """Stop reading the work queue of this server."""
        self._served.discard(server)
        reader = self._readers.pop(work(server), None)
        if reader is not None:
            reader.cancel()

    def settle(self, delivery: int, *, done: bool) -> None:
        """Ack (done) or nack a delivery, once the bus is woken."""
        self._acks.append((delivery, done))

    def wake(self) -> None:
        """Write the packs that are queued, and those that the core has to transmit."""
        self._wake.set()

    @property
    def queued(self) -> bool:
        """Whether packs or acknowledgements wait to be written."""
        return bool(self._queue or self._acks)

    def make_room(self) -> None:
        """The core may have room for more work: readers that wait for credit ask again."""
        self._more.set()

    # ------------------------------------------------------------ life
    def start(self) -> None:
        """Connect in the background, and stay connected."""
        self._task = self._watched(self._stay_connected())
        self._writer = self._watched(self._write())

    def _watched(self, running: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(running)
        task.add_done_callback(self._ended)
        return task

    async def flush(self, timeout: float) -> None:
        """Wait until all that is queued is written or has failed, at most `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while self._queue or self._acks:
                    self._written.clear()
                    self._wake.set()
                    await self._written.wait()
        except TimeoutError:
            log.warning("left with %d messages unsent: broker %s did not take them", len(self._queue), self._where)

    async def aclose(self) -> None:
        """Leave the broker. Idempotent."""
        tasks = [task for task in (self._task, self._writer, *self._readers.values()) if task is not None]
        while running := [task for task in tasks if not task.done()]:
            for task in running:
                task.cancel()  # again and again: on Python 3.11 a library's wait_for may swallow one
            await asyncio.wait(running, timeout=0.1)
        broker, self._broker = self._broker, None
        if broker is not None:
            await broker.aclose()

    async def _stay_connected(self) -> None:
        while True:
            broker, subscriptions = await self._join()
            since, self._denied = time.monotonic(), False
            try:
                for channel, subscription in subscriptions.items():
                    self._readers[channel] = self._watched(self._receive(channel, subscription))
                self._broker = broker
                for server in self._served:
                    self._read(broker, work(server))
                log.info("connected to broker %s", self._where)
                self._feed(BrokerConnected(broker.traits.keeps, broker.traits.largest_message_bytes))
                reason = await broker.lost()
            except BrokerError as error:
                reason = str(error)
            log.warning("lost broker %s (%s); connecting again", self._where, reason)
            self._broker = None
            self._deliveries.clear()
            for reader in self._readers.values():
                reader.cancel()
            self._readers.clear()
            self._feed(BrokerLost(reason))
            await broker.aclose()
            await asyncio.sleep(since + RECONNECT_AFTER - time.monotonic())

    async def _join(self) -> tuple[Broker, dict[Channel, Subscription]]:
        """Connect, and read inbox and announcements; try again as the policy says."""
        return await self._dialer.dial("broker", self._url.partition(":")[0], self._try_to_join, on_failure=self._say_retry)

    async def _try_to_join(self) -> tuple[Broker, dict[Channel, Subscription]]:
        broker = await registry.connect(self._url, fabric=self._fabric, incarnation=self._incarnation)
        try:
            return broker, {channel: await broker.subscribe(channel) for channel in (inbox(self._incarnation), ANNOUNCEMENTS)}
        except BaseException:
            await broker.aclose()
            raise

    def _say_retry(self, number: int, error: TransportError) -> None:
        level = logging.WARNING if number in (1, 5) or isinstance(error, BrokerDenied) else logging.DEBUG
        log.log(level, "no broker at %s (%s); trying again", self._where, error)

    # ------------------------------------------------------------ in
    def _read(self, broker: Broker, channel: Channel) -> None:
        if channel not in self._readers:
            self._readers[channel] = self._watched(self._consume(broker, channel))

    async def _receive(self, channel: Channel, subscription: Subscription) -> None:
        """Read the inbox or the announcements."""
        try:
            while True:
                for delivery in await subscription.receive(BATCH):
                    pack = self._decoded(channel, delivery)
                    if pack is not None:
                        self._feed(PackArrived(pack))
        except BrokerError:
            pass  # _stay_connected gets the error, too, and logs it

    async def _consume(self, broker: Broker, channel: Channel) -> None:
        """Read a work queue, as much as there is credit for."""
        try:
            subscription = await broker.subscribe(channel)
        except BrokerError as error:
            log.error("cannot read the work queue of %s: %s", channel.name, error)
            return
        keeps = broker.traits.keeps
        try:
            while True:
                while (credit := self._credit(channel.name)) <= 0:
                    self._more.clear()
                    self.starved += 1
                    try:
                        await self._more.wait()
                    finally:
                        self.starved -= 1
                for delivery in await subscription.receive(min(credit, BATCH)):
                    pack = self._decoded(channel, delivery)
                    if pack is None:
                        await subscription.ack([delivery])
                        continue
                    number = 0
                    if keeps:
                        number = next(self._numbers)
                        self._deliveries[number] = (subscription, delivery)
                    for envelope in pack.envelopes:
                        self._feed(WorkArrived(pack.source, envelope, number))
        except BrokerError:
            pass  # _stay_connected gets the error, too, and logs it
        finally:
            await subscription.aclose()

    def _decoded(self, channel: Channel, delivery: Delivery) -> Pack | None:
        try:
            return decode(delivery.body)
        except InvalidEnvelope as error:
            self._dropped[channel] += 1
            if (count := self._dropped[channel]) == 10 ** (len(str(count)) - 1):  # at 1, 10, 100: a peer may go on for ever
                log.warning("dropped a message on %s %s, %d by now: %s", channel.kind, channel.name, count, error)
            return None

    # ------------------------------------------------------------ out
    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            for _ in range(MAX_TURNS):  # larger batches under load; a lone call waits for one turn
                self._wake.clear()
                await asyncio.sleep(0)
                if not self._wake.is_set():
                    break
            self._wake.clear()
            lanes = self._transmit()
            batch, self._queue = [*self._queue, *(effect for effect in lanes if isinstance(effect, Publish))], []
            if batch:
                await self._publish(batch)
            if self._acks:
                await self._settle()
            self._written.set()

    async def _publish(self, batch: list[Publish]) -> None:
        broker = self._broker
        if broker is None:
            self._failed(batch, range(len(batch)), sent=False, reason="no broker")
            return
        try:
            await broker.publish([OutgoingMessage(effect.channel, encode(effect.pack)) for effect in batch])
        except PublishFailed as error:
            if isinstance(error.__cause__, BrokerDenied) and not self._denied:
                self._denied = True
                log.error("cannot publish: %s", error)
            self._failed(batch, error.unsent, sent=False, reason=str(error))
            self._failed(batch, error.unknown, sent=True, reason=str(error))
        except BrokerError as error:
            self._failed(batch, range(len(batch)), sent=True, reason=str(error))

    def _failed(self, batch: list[Publish], positions: Sequence[int], *, sent: bool, reason: str) -> None:
        for position in positions:
            effect = batch[position]
            self._feed(PackNotConfirmed(effect.pack, effect.channel.kind is ChannelKind.TOPIC, sent, reason))

    async def _settle(self) -> None:
        acks, self._acks = self._acks, []
        groups: dict[tuple[int, bool], tuple[Subscription, list[Delivery]]] = {}
        for number, done in acks:
            if (pending := self._deliveries.pop(number, None)) is not None:
                subscription, delivery = pending
                groups.setdefault((id(subscription), done), (subscription, []))[1].append(delivery)
        for (_, done), (subscription, deliveries) in groups.items():
            try:
                await (subscription.ack(deliveries) if done else subscription.nack(deliveries))
            except BrokerError as error:
                log.debug("not settled: %s", error)  # the broker delivers it again, and the core drops it

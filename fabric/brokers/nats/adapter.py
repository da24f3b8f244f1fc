"""NATS, `nats://` and `tls://`: work is a queue group, inbox and topic are plain subjects; nothing is kept or confirmed.

With `?work=jetstream`, work is kept until acknowledged and its publishes are confirmed (jetstream.py, work_reader.py).
connection.py has the connection itself. nats-py spends 8-10 us on each message that passes its queue and task of a
subscription, and a tenth of that on one that fulfils a future given to `subscribe`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache, partial

from fabric.addressing import Channel, ChannelKind, channel_name, escape
from fabric.brokers.base import Broker, BrokerTraits, Delivery, OutgoingMessage, Rights, Subscription
from fabric.brokers.failure import denied_right, too_long
from fabric.brokers.mailbox import Mailbox
from fabric.brokers.nats.client import Inlet, NatsError
from fabric.brokers.nats.connection import CLOSE_TIMEOUT, PULSE, NatsConnection, refusal, words
from fabric.brokers.nats.jetstream import JetStream
from fabric.brokers.nats.work_reader import WorkReader
from fabric.brokers.publish_report import PublishReport
from fabric.brokers.url import BrokerUrl, parse
from fabric.capabilities import Capabilities
from fabric.errors import BrokerClosed, BrokerDenied, BrokerError, BrokerReset, FabricError, PublishFailed

CAPABILITIES = {"nats": Capabilities(), "tls": Capabilities(encryption=True)}

HEADER_RESERVE_BYTES = 1024
"""The part of the server's limit on a message that is reserved for headers, which count too."""

OUTSIDE = "outside-of-every-fabric"
"""A subject that no fabric uses."""
RIGHTS = ("publish to", "subscribe to")
"""The rights that a user may have on a subject."""


async def connect(url: str, *, fabric: str, incarnation: str, timeout: float = 5.0) -> Broker:
    """Connect within `timeout` seconds. The URL may have `token@` or `user:password@`; `tls://` refuses a server without TLS.

    `?work=jetstream` keeps work in JetStream, which has to be enabled in the server. Raises ConfigError, BrokerDenied for
    refused credentials, and the kind of BrokerUnavailable that fits.
    """
    parts = parse(url, default_port=4222)
    broker = _NatsBroker(parts, fabric)
    try:
        async with asyncio.timeout(timeout):
            await broker.open(incarnation, timeout)
    except BaseException as error:
        await broker.aclose()
        if isinstance(error, FabricError) or not isinstance(error, Exception):
            raise
        raise refusal(parts.where, error, timeout) from None  # nats-py's error, or one of a codec below it
    return broker


class _NatsBroker:
    """One connection. See Broker."""

    def __init__(self, url: BrokerUrl, fabric: str) -> None:
        self._where = url.where
        self._name = lru_cache(maxsize=4096)(partial(channel_name, fabric))
        self._connection = connection = NatsConnection(url, self)
        self._client, self._denied = connection.client, connection.denied
        self._state, self._written = connection.state, connection.written
        self._mailboxes: list[Mailbox] = []
        jetstream = url.options.get("work") == "jetstream"
        self._stream = JetStream(connection.client, url.where, fabric, connection.lose) if jetstream else None
        self._work: list[WorkReader] = []
        self._renew_at = 0.0
        self.traits = BrokerTraits(keeps=False, largest_message_bytes=0)

    async def open(self, name: str, timeout: float) -> None:
        """Connect, once. Raises what nats-py raises, BrokerError."""
        await self._connection.open(name, timeout)
        self.traits = BrokerTraits(
            keeps=self._stream is not None, largest_message_bytes=max(1, self._client.max_payload - HEADER_RESERVE_BYTES)
        )
        if self._stream is not None:
            await self._stream.open()

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        self._state.check_open()
        named = [(self._name(message.channel), message) for message in messages]
        count, largest = len(named), self.traits.largest_message_bytes
        self._state.check_can_publish(count)
        report = PublishReport()
        expected: dict[int, asyncio.Future[BrokerError | None]] = {}
        for at, (name, message) in enumerate(named):
            if self._denied and self._connection.is_denied("publish to", name):
                report.refuse(at, BrokerDenied(denied_right(self._where, "publish to", name)))
                continue
            if len(message.body) > largest or _header_bytes(message) > HEADER_RESERVE_BYTES:
                report.refuse(at, too_long(self._where, largest))
                continue
            reply = ""
            if self._stream is not None and message.channel.kind is ChannelKind.WORK:
                reply, expected[at] = self._stream.expect(name)
            headers = dict(message.headers) if message.headers else None
            try:
                await self._client.publish(name, message.body, reply, headers)
            except Exception as error:  # nats-py's, or the loop's for a socket that is gone
                unsent = [*report.unsent, *range(at, count)]
                unknown = [earlier for earlier in range(at) if earlier not in report.unsent]
                raise PublishFailed(f"{self._where}: {words(error)}", unsent=unsent, unknown=unknown) from None
        await self._written()
        outcomes = await self._stream.confirmed(expected) if self._stream is not None and expected else {}
        for at, refused in outcomes.items():
            if refused is not None:
                report.refuse(at, refused)
        loss = self._state.loss
        unsure = expected if loss is None else range(count)  # core NATS confirms nothing: a message written counts as published
        report.conclude(
            [at for at in unsure if at not in outcomes and at not in report.unsent],
            loss=loss,
            unconfirmed=f"{self._where}: JetStream has not confirmed the messages; see its log",
        )

    async def subscribe(self, channel: Channel) -> Subscription:
        self._state.check_up()
        name = self._name(channel)
        if self._stream is not None and channel.kind is ChannelKind.WORK:
            return await self._consume(self._stream, channel.name, name)
        self._denied.discard(f"subscribe to {name}".lower())
        queue = name if channel.kind is ChannelKind.WORK else ""

        async def leave(_: Mailbox) -> None:
            with suppress(NatsError):  # already closed, or the connection is lost
                await subscription.unsubscribe()

        mailbox = Mailbox(leave)
        inlet = Inlet(lambda message: mailbox.put(Delivery(message.data)))
        try:
            subscription = await self._client.subscribe(name, queue, future=inlet)
        except Exception as error:  # as in publish()
            raise BrokerReset(f"{self._where}: {words(error)}") from None
        self._mailboxes = [*(mailbox for mailbox in self._mailboxes if not mailbox.ended), mailbox]
        await self._written()
        await self._connection.round_trip()
        self._state.check_up()
        if self._connection.is_denied("subscribe to", name):
            await mailbox.aclose()
            raise BrokerDenied(denied_right(self._where, "subscribe to", name))
        return mailbox

    async def _consume(self, stream: JetStream, server: str, name: str) -> Subscription:
        reader = WorkReader(stream, name, escape(server), self._connection.round_trip)
        self._work.append(reader)
        try:
            await reader.open()
        except BaseException:
            await reader.aclose()
            raise
        return reader

    async def rights(self) -> Rights:
        """See TellsRights. Looks only for rights in excess: a missing one shows when it is used."""
        self._state.check_open()
        await (await self._client.subscribe(OUTSIDE, future=Inlet(lambda _: None))).unsubscribe()
        await self._client.publish(OUTSIDE)
        await self._written()
        await self._connection.round_trip()
        excess = [right for right in RIGHTS if not self._connection.is_denied(right, OUTSIDE)]
        return Rights(excess=tuple(f"{right} subjects of others" for right in excess))

    async def tidy(self, server: str) -> None:
        """See Tidies. Without JetStream nothing is left."""
        self._state.check_open()
        if self._stream is not None:
            await self._stream.tidy(server)

    async def lost(self) -> str:
        return await self._state.lost()

    async def aclose(self) -> None:
        if not self._state.close():
            return
        for mailbox in self._mailboxes:
            mailbox.clear()
            mailbox.end(BrokerClosed("the broker connection is closed"))
        with suppress(TimeoutError):  # a stalled broker does not answer; unacknowledged work goes to others anyway
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await asyncio.gather(*(reader.aclose() for reader in self._work))
        await self._connection.aclose()

    # ------------------------------------------------------------ the owner of a connection
    async def before_ping(self) -> None:
        """See ConnectionOwner. Tell JetStream, each PULSE, that we still hold our work."""
        now = asyncio.get_running_loop().time()
        if self._stream is None or now < self._renew_at:
            return
        self._renew_at = now + PULSE
        self._work = [reader for reader in self._work if not reader.ended]
        for reader in self._work:
            await reader.renew()

    def subject_refused(self, subject: str) -> None:
        """See ConnectionOwner."""
        if self._stream is not None:
            self._stream.denied(subject)

    def connection_lost(self, error: BrokerError) -> None:
        """See ConnectionOwner."""
        for mailbox in self._mailboxes:
            mailbox.end(error)
        for reader in self._work:
            reader.end(error)
        if self._stream is not None:
            self._stream.replies.end(error)


def _header_bytes(message: OutgoingMessage) -> int:
    """The size of the headers as NATS writes them: `NATS/1.0`, a line for each, an empty line."""
    return 12 + sum(len(name) + len(value.encode()) + 4 for name, value in message.headers) if message.headers else 0

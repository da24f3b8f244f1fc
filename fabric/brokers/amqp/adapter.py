"""AMQP 0-9-1 on RabbitMQ, `amqp://` and `amqps://`: work is kept until acknowledged, inbox and topic end with a connection.

- A fabric has one direct exchange, mcpf.<fabric>, and the routing key is always the channel's name. The broker deletes the
  exchange with the last queue bound to it.
- work/<server> is a durable queue, which each process that publishes to it or reads it declares and binds. The broker deletes
  it after WORK_TTL without a consumer or a declaration. It refuses more than MOST_WORK messages.
- inbox/<incarnation> and topic/<name> are bindings of the connection's own exclusive queue, whose name is new with each
  connection: so the queue of a dead connection that the broker has not noticed yet neither blocks a new one nor takes its
  messages.

Publishes are confirmed. Nothing is written to disk: the core sends again what a restart loses. Needs RabbitMQ 3.10.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache, partial
from itertools import count
from typing import Any
from uuid import uuid4

import aiormq
from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.common import FieldTable

from fabric.addressing import Channel, ChannelKind, channel_name, escape, work
from fabric.brokers.amqp.connection import SPEAKS, AmqpConnection, ChannelStep
from fabric.brokers.amqp.work_reader import WorkReader
from fabric.brokers.base import Broker, BrokerTraits, Delivery, OutgoingMessage, Rights, Subscription
from fabric.brokers.connection_state import ConnectionState
from fabric.brokers.failure import full, too_long, unreachable
from fabric.brokers.mailbox import Mailbox
from fabric.brokers.publish_report import PublishReport
from fabric.brokers.url import BrokerUrl, parse
from fabric.capabilities import Capabilities
from fabric.errors import BrokerClosed, BrokerDenied, BrokerError, BrokerUnavailable, PublishFailed

LARGEST_MESSAGE_BYTES = 16 * 1024 * 1024
"""The default limit of RabbitMQ 4."""
CAPABILITIES = {
    "amqp": Capabilities(resumable=True, largest_message_bytes=LARGEST_MESSAGE_BYTES),
    "amqps": Capabilities(resumable=True, encryption=True, largest_message_bytes=LARGEST_MESSAGE_BYTES),
}

MOST_WORK = 10_000
"""The most messages that wait in one work queue; a publish beyond is refused."""

WORK_TTL = 600
"""Seconds that a work queue outlives its last consumer and its last declaration."""

DECLARE_EVERY = 60.0
"""Seconds after which a work queue that is in use is declared again, so that it does not expire."""

CLOSE_TIMEOUT = 4.0
"""Seconds that aclose() waits for the broker."""

_WORK_ARGUMENTS: FieldTable = {"x-expires": WORK_TTL * 1000, "x-max-length": MOST_WORK, "x-overflow": "reject-publish"}


async def connect(url: str, *, fabric: str, incarnation: str, timeout: float = 5.0) -> Broker:
    """Connect within `timeout` seconds; `amqp://[user:password@]host[:port][/vhost]`, `amqps://` for TLS.

    Raises ConfigError, BrokerDenied for refused credentials or rights, and the kind of BrokerUnavailable that fits.
    """
    parts = parse(url, default_port=5671 if url.lower().startswith("amqps:") else 5672)
    connection = _AmqpBroker(parts, fabric, incarnation)
    try:
        async with asyncio.timeout(timeout):
            await connection.open(timeout)
    except BaseException as error:
        await connection.drop()
        if isinstance(error, OSError):
            raise unreachable(parts.where, error, timeout=timeout, speaks=SPEAKS) from None
        raise
    return connection


class _AmqpBroker:
    """One connection. See Broker."""

    traits = BrokerTraits(keeps=True, largest_message_bytes=LARGEST_MESSAGE_BYTES)

    def __init__(self, url: BrokerUrl, fabric: str, incarnation: str) -> None:
        self._url = url
        self._name = lru_cache(maxsize=4096)(partial(channel_name, fabric))
        self._exchange = f"mcpf.{escape(fabric)}"
        self._queue = f"{self._exchange}.reader.{uuid4().hex}"
        self._declared: dict[str, float] = {}
        self._readers: list[WorkReader | Mailbox] = []
        self._mailboxes: defaultdict[str, list[Mailbox]] = defaultdict(list)  # by channel name
        self._ids = count(1)
        self._given_up: asyncio.Future[None] | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._state = ConnectionState()
        self._connection = AmqpConnection(url, f"{fabric} {incarnation}", self)

    async def open(self, timeout: float) -> None:
        """Connect, and use our three rights, so that a missing one shows at once. Raises BrokerError, OSError."""
        await self._connection.open(timeout=timeout)
        await self._connection.do(
            ("configure", lambda of: of.declare_exchange(self._exchange, ExchangeType.DIRECT, durable=True, auto_delete=True)),
            ("configure", lambda of: of.declare_queue(self._queue, exclusive=True)),
            self._binding(self._queue, self._queue),
        )
        reading, self._out = await self._connection.channel(), await self._connection.channel(confirms=True)
        await self._connection.ask(reading.basic_consume(self._queue, self._arrived, no_ack=True), "read")
        await self._connection.ask(self._out.basic_publish(b"", exchange=self._exchange, routing_key=self._queue), "write")
        self._connection.follow(reading, "read")
        self._connection.follow(self._out, "write")
        self._upkeep = asyncio.create_task(self._keep(), name="amqp upkeep")

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        self._state.check_open()
        named = [(self._name(message.channel), message) for message in messages]
        self._state.check_can_publish(len(named))
        where = self._url.where
        if self._connection.blocked:
            raise PublishFailed(self._unconfirmed(), unsent=range(len(named)))
        report = PublishReport()
        for at, message in enumerate(messages):
            if len(message.body) > LARGEST_MESSAGE_BYTES:
                report.refuse(at, too_long(where, LARGEST_MESSAGE_BYTES))
        for name in {name for name, message in named if message.channel.kind is ChannelKind.WORK}:
            try:
                await self._declare(name)
            except BrokerError as error:
                for at, (other, _) in enumerate(named):
                    if other == name:
                        report.refuse(at, error)
        fitting = [at for at in range(len(named)) if at not in report.unsent]
        sent = [self._connection.start(self._send(*named[at])) for at in fitting]
        await self._confirmed(sent)
        unknown = []
        loss = self._connection.end
        for at, sending in zip(fitting, sent, strict=True):
            name = named[at][0]
            if not sending.done() or sending.cancelled():
                unknown.append(at)
            elif isinstance(problem := sending.exception(), aiormq.PublishError):
                self._declared.pop(name, None)
                report.refuse(at, f"{where}: {name} is gone: somebody deleted it")
            elif isinstance(problem, aiormq.DeliveryError):
                report.refuse(at, full(where, name, MOST_WORK))
            elif problem is not None:
                unknown.append(at)
                loss = loss or self._connection.refusal(problem, "write")
        report.conclude(unknown, loss=loss, unconfirmed=self._unconfirmed() if unknown else "")

    async def subscribe(self, channel: Channel) -> Subscription:
        self._state.check_up()
        name = self._name(channel)
        reader: WorkReader | Mailbox
        if channel.kind is ChannelKind.WORK:
            await self._declare(name)
            reader = WorkReader(name, self._connection, await self._connection.channel())
            await reader.prove()
        else:
            reader = Mailbox(partial(self._leave, name))
            self._mailboxes[name].append(reader)
            await self._connection.do(self._binding(self._queue, name))
        self._readers = [*(reader for reader in self._readers if not reader.ended), reader]
        return reader

    async def rights(self) -> Rights:
        """See TellsRights. Looks only for rights in excess: a missing one shows when it is used."""
        self._state.check_open()
        outside = f"outside-of-every-fabric-{uuid4().hex}"
        try:
            await self._connection.do(
                ("configure", lambda of: of.declare_queue(outside, exclusive=True)),
                ("configure", lambda of: of.queue_delete(outside)),
            )
        except BrokerDenied:
            return Rights()
        return Rights(excess=("make and delete queues that are not the fabric's",))

    async def tidy(self, server: str) -> None:
        """See Tidies. The broker deletes the exchange with the last queue."""
        self._state.check_open()
        name = self._name(work(server))
        await self._connection.do(("configure", lambda of: of.queue_delete(name)))

    async def lost(self) -> str:
        return await self._state.lost()

    async def aclose(self) -> None:
        if not self._state.close():
            return
        for reader in self._readers:
            reader.end(BrokerClosed("the broker connection is closed"))
        await self._connection.say_goodbye(CLOSE_TIMEOUT)
        await self.drop()

    async def drop(self) -> None:
        """End the connection at once."""
        self._state.close()
        await self._connection.say_goodbye(0)
        self._give_up()
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.wait([self._upkeep])

    async def _send(self, name: str, message: OutgoingMessage) -> None:
        """Publish one message. Work is mandatory: RabbitMQ returns it if there is no queue. An inbox may have no owner."""
        headers: FieldTable | None = {**dict(message.headers)} or None
        await self._out.basic_publish(
            message.body,
            exchange=self._exchange,
            routing_key=name,
            mandatory=message.channel.kind is ChannelKind.WORK,
            properties=Basic.Properties(headers=headers, delivery_mode=1, message_id=str(next(self._ids))),
            wait=False,
        )

    async def _confirmed(self, sent: Sequence[asyncio.Task[None]]) -> None:
        """Wait until the broker has confirmed or refused each, or is blocked. Cancelling it does not end the publishes."""
        self._given_up = asyncio.get_running_loop().create_future()
        all_sent: asyncio.Future[Any] = asyncio.gather(*sent, return_exceptions=True)
        await asyncio.wait([all_sent, self._given_up], return_when=asyncio.FIRST_COMPLETED)

    async def _arrived(self, message: DeliveredMessage) -> None:
        for mailbox in self._mailboxes.get(message.routing_key or "", ()):
            mailbox.put(Delivery(message.body))

    def _binding(self, queue: str, key: str) -> ChannelStep:
        async def bind(channel: AbstractChannel) -> None:
            await (await channel.get_underlay_channel()).queue_bind(queue, self._exchange, key)

        return "bind", bind

    async def _declare(self, name: str, *, again: bool = False) -> None:
        """Declare and bind a work queue, unless we did within DECLARE_EVERY. Raises BrokerDenied, BrokerUnavailable."""
        now = asyncio.get_running_loop().time()
        if again or now - self._declared.get(name, -DECLARE_EVERY) >= DECLARE_EVERY:
            await self._connection.do(
                ("configure", lambda of: of.declare_queue(name, durable=True, arguments=_WORK_ARGUMENTS)),
                self._binding(name, name),
            )
            self._declared[name] = now

    async def _leave(self, name: str, mailbox: Mailbox) -> None:
        mailboxes = self._mailboxes[name]
        if mailbox in mailboxes:
            mailboxes.remove(mailbox)
        if not mailboxes:
            del self._mailboxes[name]

            async def unbind(channel: AbstractChannel) -> None:
                await (await channel.get_underlay_channel()).queue_unbind(self._queue, self._exchange, name)

            with suppress(BrokerError):
                await self._connection.do(("bind", unbind))

    async def _keep(self) -> None:
        """Keep declaring the queues that we read: one whose readers are all busy has no consumer, and would expire."""
        while True:
            await asyncio.sleep(DECLARE_EVERY)
            for reader in self._readers:
                if isinstance(reader, WorkReader) and not reader.ended:
                    try:
                        await self._declare(reader.queue, again=True)
                    except BrokerError as error:
                        self._connection.lose(error)
                        return

    # ------------------------------------------------------------ the owner of a connection
    def connection_lost(self, error: BrokerError) -> None:
        """See ConnectionOwner."""
        loss = error if isinstance(error, BrokerUnavailable | BrokerDenied) else BrokerUnavailable(str(error))
        if self._state.lose(loss):
            for reader in self._readers:
                reader.end(loss)
            self._give_up()

    def connection_blocked(self) -> None:
        """See ConnectionOwner."""
        self._give_up()

    def _give_up(self) -> None:
        """End the wait of publish(), because the broker is blocked or the connection is lost."""
        if self._given_up is not None and not self._given_up.done():
            self._given_up.set_result(None)

    def _unconfirmed(self) -> str:
        """Why a broker that is still connected does not confirm."""
        if self._connection.blocked:
            return f"{self._url.where} takes no messages for now; give it more memory or disk"
        return f"{self._url.where} has not confirmed the messages"

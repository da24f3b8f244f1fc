"""AMQP 0-9-1 on RabbitMQ, `amqp://` and `amqps://`: work is kept until acknowledged, inbox and topic live with a connection.

- A fabric has one direct exchange, mcpf.<fabric>, and the routing key is always the channel's name. It is deleted by the
  broker with the last queue bound to it.
- work/<server> is a durable queue, bound by whoever publishes to it or reads it, which the broker deletes when for WORK_TTL
  nobody consumed or declared it. It refuses more than MOST_WORK messages.
- inbox/<incarnation> and topic/<name> are bindings of the connection's own exclusive queue, whose name is new with each
  connection: what a dead connection left, until the broker has noticed, is in nobody's way and holds nobody's messages.

Publishes are confirmed. Nothing is written to disk: what a broker forgets in a restart is sent again. Needs RabbitMQ 3.10.
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
from fabric.brokers.failure import full, too_long, unreachable
from fabric.brokers.listener import Listener
from fabric.brokers.mailbox import Mailbox
from fabric.brokers.url import BrokerUrl, parse
from fabric.capabilities import Capabilities
from fabric.errors import BrokerClosed, BrokerDenied, BrokerError, BrokerUnavailable, PublishFailed

LARGEST_MESSAGE_BYTES = 16 * 1024 * 1024
"""What RabbitMQ 4 takes unless told otherwise."""
CAPABILITIES = {
    "amqp": Capabilities(resumable=True, largest_message_bytes=LARGEST_MESSAGE_BYTES),
    "amqps": Capabilities(resumable=True, encryption=True, largest_message_bytes=LARGEST_MESSAGE_BYTES),
}

MOST_WORK = 10_000
"""Messages waiting in one work queue; a publish beyond is refused."""

WORK_TTL = 600
"""Seconds a work queue outlives its last consumer and its last declaration."""

DECLARE_EVERY = 60.0
"""Seconds after which a work queue that is in use is declared again, so that it does not expire."""

CLOSE_TIMEOUT = 4.0
"""Seconds aclose() gives the broker to take leave of us."""

_WORK_ARGUMENTS: FieldTable = {"x-expires": WORK_TTL * 1000, "x-max-length": MOST_WORK, "x-overflow": "reject-publish"}


async def connect(url: str, *, fabric: str, incarnation: str, timeout: float = 5.0) -> Broker:
    """Connect within `timeout` seconds; `amqp://[user:password@]host[:port][/vhost]`, `amqps://` for TLS.

    Raises ConfigError, BrokerDenied for refused credentials or rights, and of BrokerUnavailable the kind it is.
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
        self._readers: list[WorkReader | Listener] = []
        self._listeners: defaultdict[str, list[Mailbox]] = defaultdict(list)
        self._ids = count(1)
        self._given_up: asyncio.Future[None] | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._closed = False
        self._ended: asyncio.Future[BrokerError] = asyncio.get_running_loop().create_future()
        self._connection = AmqpConnection(url, f"{fabric} {incarnation}", self._lose, self._give_up)

    async def open(self, timeout: float) -> None:
        """Connect, and prove the three rights by using them. Raises BrokerError, OSError."""
        await self._connection.open(timeout=timeout)
        await self._connection.do(
            ("configure", lambda of: of.declare_exchange(self._exchange, ExchangeType.DIRECT, durable=True, auto_delete=True)),
            ("configure", lambda of: of.declare_queue(self._queue, exclusive=True)),
            self._binding(self._queue, self._queue),
        )
        reading, self._out = await self._connection.channel(), await self._connection.channel(confirms=True)
        await self._connection.ask(reading.basic_consume(self._queue, self._heard, no_ack=True), "read")
        await self._connection.ask(self._out.basic_publish(b"", exchange=self._exchange, routing_key=self._queue), "write")
        self._connection.follow(reading, "read")
        self._connection.follow(self._out, "write")
        self._upkeep = asyncio.create_task(self._keep(), name="amqp upkeep")

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        self._check_open()
        named = [(self._name(message.channel), message) for message in messages]
        if self._ended.done() or self._connection.blocked:
            raise PublishFailed(self._silence(), unsent=range(len(named))) from self._connection.end
        reasons = {
            at: too_long(self._url.where, LARGEST_MESSAGE_BYTES)
            for at, message in enumerate(messages)
            if len(message.body) > LARGEST_MESSAGE_BYTES
        }
        denial: BrokerError | None = None
        for name in {name for name, message in named if message.channel.kind is ChannelKind.WORK}:
            try:
                await self._declare(name)
            except BrokerError as error:
                denial = error if isinstance(error, BrokerDenied) else denial
                reasons |= {at: str(error) for at, (other, _) in enumerate(named) if other == name}
        fitting = [at for at in range(len(named)) if at not in reasons]
        sent = [self._connection.start(self._send(*named[at])) for at in fitting]
        await self._confirmed(sent)
        unknown = []
        for at, sending in zip(fitting, sent, strict=True):
            name = named[at][0]
            if not sending.done() or sending.cancelled():
                unknown.append(at)
            elif isinstance(why := sending.exception(), aiormq.PublishError):
                self._declared.pop(name, None)
                reasons[at] = f"{self._url.where}: {name} is gone: somebody deleted it"
            elif isinstance(why, aiormq.DeliveryError):
                reasons[at] = full(self._url.where, name, MOST_WORK)
            elif why is not None:
                unknown.append(at)
                denial = self._connection.refusal(why, "write")
        if unknown or reasons:
            reason = reasons[min(reasons)] if reasons else self._silence()
            raise PublishFailed(reason, unsent=sorted(reasons), unknown=unknown) from self._connection.end or denial

    async def subscribe(self, channel: Channel) -> Subscription:
        self._check_open()
        name = self._name(channel)
        if self._ended.done():
            raise self._ended.result().anew()
        reader: WorkReader | Listener
        if channel.kind is ChannelKind.WORK:
            await self._declare(name)
            reader = WorkReader(name, self._connection, await self._connection.channel())
            await reader.prove()
        else:
            reader = Listener(partial(self._leave, name))
            self._listeners[name].append(reader.mailbox)
            await self._connection.do(self._binding(self._queue, name))
        self._readers = [*(reader for reader in self._readers if not reader.ended), reader]
        return reader

    async def rights(self) -> Rights:
        """See TellsRights. What is missing shows where it is used; here we see only whether there is more."""
        self._check_open()
        outside = f"outside-of-every-fabric-{uuid4().hex}"
        try:
            await self._connection.do(
                ("configure", lambda of: of.declare_queue(outside, exclusive=True)),
                ("configure", lambda of: of.queue_delete(outside)),
            )
        except BrokerDenied:
            return Rights()
        return Rights(excess=("make and delete what is not the fabric's",))

    async def tidy(self, server: str) -> None:
        """See Tidies. The exchange goes with the last queue."""
        self._check_open()
        name = self._name(work(server))
        await self._connection.do(("configure", lambda of: of.queue_delete(name)))

    async def lost(self) -> str:
        return str(await asyncio.shield(self._ended))

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        for reader in self._readers:
            reader.end(BrokerClosed("the broker connection is closed"))
        await self._connection.say_goodbye(CLOSE_TIMEOUT)
        await self.drop()

    async def drop(self) -> None:
        """End it at once."""
        self._closed = True
        await self._connection.say_goodbye(0)
        self._give_up()
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.wait([self._upkeep])

    async def _send(self, name: str, message: OutgoingMessage) -> None:
        """Only work that reaches no queue is sent back to us; an inbox of nobody is nobody's loss."""
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
        """Wait until the broker has said what became of each, or says nothing for now. They go on if we are cancelled."""
        self._given_up = asyncio.get_running_loop().create_future()
        all_sent: asyncio.Future[Any] = asyncio.gather(*sent, return_exceptions=True)
        await asyncio.wait([all_sent, self._given_up], return_when=asyncio.FIRST_COMPLETED)

    async def _heard(self, message: DeliveredMessage) -> None:
        for mailbox in self._listeners.get(message.routing_key or "", ()):
            mailbox.put(Delivery(message.body))

    def _binding(self, queue: str, key: str) -> ChannelStep:
        async def bind(channel: AbstractChannel) -> None:
            await (await channel.get_underlay_channel()).queue_bind(queue, self._exchange, key)

        return "bind", bind

    async def _declare(self, name: str, *, again: bool = False) -> None:
        """Make sure of a work queue, unless that was done lately. Raises BrokerDenied, BrokerUnavailable."""
        now = asyncio.get_running_loop().time()
        if again or now - self._declared.get(name, -DECLARE_EVERY) >= DECLARE_EVERY:
            await self._connection.do(
                ("configure", lambda of: of.declare_queue(name, durable=True, arguments=_WORK_ARGUMENTS)),
                self._binding(name, name),
            )
            self._declared[name] = now

    async def _leave(self, name: str, mailbox: Mailbox) -> None:
        mailboxes = self._listeners[name]
        if mailbox in mailboxes:
            mailboxes.remove(mailbox)
        if not mailboxes:
            del self._listeners[name]

            async def unbind(channel: AbstractChannel) -> None:
                await (await channel.get_underlay_channel()).queue_unbind(self._queue, self._exchange, name)

            with suppress(BrokerError):
                await self._connection.do(("bind", unbind))

    async def _keep(self) -> None:
        """A work queue whose readers are all busy has no consumer: being declared again keeps it from expiring."""
        while True:
            await asyncio.sleep(DECLARE_EVERY)
            for reader in self._readers:
                if isinstance(reader, WorkReader) and not reader.ended:
                    try:
                        await self._declare(reader.queue, again=True)
                    except BrokerError as error:
                        self._connection.lose(error)
                        return

    def _lose(self, error: BrokerError) -> None:
        if self._closed or self._ended.done():
            return
        lost = error if isinstance(error, BrokerUnavailable | BrokerDenied) else BrokerUnavailable(str(error))
        self._ended.set_result(lost)
        for reader in self._readers:
            reader.end(lost)
        self._give_up()

    def _give_up(self) -> None:
        """The broker takes no publishes for now, or never again: what is under way may stay so."""
        if self._given_up is not None and not self._given_up.done():
            self._given_up.set_result(None)

    def _silence(self) -> str:
        if self._connection.blocked:
            return f"{self._url.where} takes no messages for now; give it more memory or disk"
        return str(self._connection.end or "not confirmed")

    def _check_open(self) -> None:
        if self._closed:
            raise BrokerClosed("the broker connection is closed")

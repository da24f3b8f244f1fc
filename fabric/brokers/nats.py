"""NATS, `nats://` and `tls://`: work is a queue group, inbox and topic are plain subjects; nothing is kept or confirmed.

With `?work=jetstream` work is kept until acknowledged and its publishes are confirmed: nats_jetstream.py, nats_work.py.

Of nats-py this uses the connection and switches off the rest: one attempt to connect, no reconnecting, no buffering while down.
Three of its ways shape the code. A message costs 8-10 us by its own queue and task for each subscription, and a tenth of that
where `subscribe` is given a future to fulfil. A PING overtakes what is queued, so it proves something only when nothing is. A
PONG that comes for a cancelled flush() kills its reader, so one task sends all PINGs and nobody cancels it.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import lru_cache, partial

from nats.aio.client import Client
from nats.aio.subscription import Subscription as NatsSubscription
from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError

from fabric import capabilities
from fabric.addressing import Channel, ChannelKind, channel_name, escape
from fabric.brokers.base import Broker, Capabilities, Delivery, Outgoing, Rights, Subscription
from fabric.brokers.failure import denied_credentials, denied_right, stranger, too_long, unreachable
from fabric.brokers.mailbox import Mailbox
from fabric.brokers.nats_jetstream import Inlet, JetStream
from fabric.brokers.nats_work import Work
from fabric.brokers.url import BrokerUrl, parse
from fabric.errors import (
    BrokerClosed,
    BrokerDenied,
    BrokerError,
    BrokerProtocolError,
    BrokerRefused,
    BrokerReset,
    BrokerTimeout,
    PublishFailed,
)

CAPABILITIES = {"nats": capabilities.Capabilities(), "tls": capabilities.Capabilities(encryption=True)}

HEADER_RESERVE_BYTES = 1024
"""What the server's limit on a message leaves for headers, which count too."""

PULSE = 2.0
"""Seconds between PINGs while nothing else asks for one."""

PULSE_TIMEOUT = 4
"""Seconds until a PING without an answer means that the connection is lost: a stalled broker closes nothing."""

OUTSIDE = "outside-of-every-fabric"
RIGHTS = ("publish to", "subscribe to")

PERMISSIONS_VIOLATION = re.compile('permissions violation for (publish|subscription) to "([^"]*)"')

CLOSE_TIMEOUT = 1.0
"""Seconds aclose() gives what is still queued."""


async def connect(url: str, *, fabric: str, incarnation: str, timeout: float = 5.0) -> Broker:
    """Connect within `timeout` seconds. `token@` or `user:password@` in the URL; `tls://` refuses a server without TLS.

    `?work=jetstream` keeps work in JetStream, which the server has to have switched on.

    Raises ConfigError, BrokerDenied for refused credentials, and of BrokerUnavailable the kind it is.
    """
    parts = parse(url, default_port=4222)
    connection = _Nats(parts, fabric)
    try:
        async with asyncio.timeout(timeout):
            await connection.open(incarnation, timeout)
    except (NatsError, OSError, TimeoutError) as error:
        await connection.aclose()
        raise _refusal(parts.where, error, timeout) from None
    except BaseException:
        await connection.aclose()
        raise
    return connection


class _Nats:
    """One connection. See Broker."""

    def __init__(self, parts: BrokerUrl, fabric: str) -> None:
        self._parts = parts
        self._name = lru_cache(maxsize=4096)(partial(channel_name, fabric))
        self._client = Client()
        self._mailboxes: list[Mailbox] = []
        self._connected = False
        self._closed = False
        self._denied: set[str] = set()
        self._ended: asyncio.Future[BrokerError] = asyncio.get_running_loop().create_future()
        jetstream = parts.options.get("work") == "jetstream"
        self._stream = JetStream(self._client, parts.where, fabric, self._lose) if jetstream else None
        self._work: list[Work] = []
        self._renew_at = 0.0
        self._pulse: asyncio.Task[None] | None = None
        self._asked = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self.capabilities = Capabilities(keeps=False, largest_message_bytes=0)

    async def open(self, name: str, timeout: float) -> None:
        """Connect, once. Raises what nats-py raises."""
        parts = self._parts
        has_password = parts.user is not None and parts.password is not None
        await self._client.connect(
            parts.where,
            name=name,
            user=(lambda: self._over_tls(parts.user)) if has_password else None,
            password=parts.password if has_password else None,
            token=(lambda: self._over_tls(parts.user)) if parts.user is not None and not has_password else None,
            tls=parts.tls_context(),
            allow_reconnect=False,
            connect_timeout=math.ceil(timeout),
            pending_size=-1,  # no buffering while down, and no blocking flush inside publish(), which swallows cancellation
            skip_subject_validation=True,  # channel_name() leaves nothing to validate
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnect,
        )
        self._over_tls("")
        self._connected = True
        self.capabilities = Capabilities(
            keeps=self._stream is not None, largest_message_bytes=max(1, self._client.max_payload - HEADER_RESERVE_BYTES)
        )
        self._pulse = asyncio.create_task(self._beat(), name="nats pulse")
        if self._stream is not None:
            await self._stream.open()

    def _over_tls(self, secret: str | None) -> str:
        """`secret`, unless it would leave in the clear despite tls://: nats-py encrypts only where the server says so."""
        # no public attribute of nats-py tells what the server said
        if self._parts.scheme == "tls" and not self._client._server_info.get("tls_required"):
            raise _NoTls
        return secret or ""

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        self._check_open()
        named = [(self._name(message.channel), message) for message in messages]
        if self._ended.done():
            raise PublishFailed(str(self._ended.result()), unsent=range(len(named))) from self._ended.result()
        count, largest = len(named), self.capabilities.largest_message_bytes
        reasons: dict[int, str] = {}  # of what surely was not sent
        expected: dict[int, asyncio.Future[BrokerError | None]] = {}
        denial: BrokerDenied | None = None
        for at, (name, message) in enumerate(named):
            if self._denied and self._is_denied("publish to", name):
                denial = BrokerDenied(denied_right(self._parts.where, "publish to", name))
                reasons[at] = str(denial)
                continue
            if len(message.body) > largest or _header_bytes(message) > HEADER_RESERVE_BYTES:
                reasons[at] = too_long(self._parts.where, largest)
                continue
            reply = ""
            if self._stream is not None and message.channel.kind is ChannelKind.WORK:
                reply, expected[at] = self._stream.expect(name)
            headers = dict(message.headers) if message.headers else None
            try:
                await self._client.publish(name, message.body, reply, headers)
            except NatsError as error:
                reason = f"{self._parts.where}: {error}"
                raise PublishFailed(reason, unsent=[*reasons, *range(at, count)], unknown=_but(reasons, at)) from None
        await self._written()
        outcomes = await self._stream.confirmed(expected) if self._stream is not None and expected else {}
        for at, refusal in outcomes.items():
            if refusal is not None:
                reasons[at] = str(refusal)
                denial = refusal if isinstance(refusal, BrokerDenied) else denial
        if self._ended.done():
            unknown = [at for at in _but(reasons, count) if at not in outcomes]
            ended = self._ended.result()
            raise PublishFailed(str(ended), unsent=sorted(reasons), unknown=unknown) from ended
        if unknown := [at for at in expected if at not in outcomes]:
            reason = f"{self._parts.where}: JetStream has not confirmed what was sent; see its log"
            raise PublishFailed(reason, unsent=sorted(reasons), unknown=unknown)
        if reasons:
            raise PublishFailed(reasons[min(reasons)], unsent=sorted(reasons)) from denial

    async def subscribe(self, channel: Channel) -> Subscription:
        self._check_open()
        name, mailbox = self._name(channel), Mailbox()
        self._check_there()
        if self._stream is not None and channel.kind is ChannelKind.WORK:
            return await self._consume(self._stream, channel.name, name)
        self._denied.discard(f"subscribe to {name}".lower())
        queue, inlet = (
            name if channel.kind is ChannelKind.WORK else "",
            Inlet(lambda message: mailbox.put(Delivery(message.data))),
        )
        try:
            subscription = await self._client.subscribe(name, queue, future=inlet)
        except NatsError as error:
            raise BrokerReset(f"{self._parts.where}: {_words(error)}") from None
        self._mailboxes.append(mailbox)
        reading = _Reading(subscription, mailbox)
        await self._written()
        await self._round_trip()
        self._check_there()
        if self._is_denied("subscribe to", name):
            await reading.aclose()
            raise BrokerDenied(denied_right(self._parts.where, "subscribe to", name))
        return reading

    async def _consume(self, stream: JetStream, server: str, name: str) -> Subscription:
        reading = Work(stream, name, escape(server), self._round_trip)
        self._work.append(reading)
        try:
            await reading.open()
        except BaseException:
            await reading.aclose()
            raise
        return reading

    async def rights(self) -> Rights:
        """See TellsRights. What is missing shows where it is used; here we see only whether there is more."""
        self._check_open()
        await (await self._client.subscribe(OUTSIDE, future=Inlet(lambda _: None))).unsubscribe()
        await self._client.publish(OUTSIDE)
        await self._written()
        await self._round_trip()
        return Rights(excess=tuple(f"{right} subjects of others" for right in RIGHTS if not self._is_denied(right, OUTSIDE)))

    async def lost(self) -> str:
        return str(await asyncio.shield(self._ended))

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        for mailbox in self._mailboxes:
            mailbox.clear()
            mailbox.end(BrokerClosed("the broker connection is closed"))
        with suppress(TimeoutError):  # a stalled broker does not answer; what is left there goes to others
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await asyncio.gather(*(reading.aclose() for reading in self._work))
        with suppress(Exception):
            await asyncio.wait_for(self._client.close(), CLOSE_TIMEOUT)
        # a stalled broker never takes what is queued, and nothing public of nats-py ends that wait
        transport = self._client._transport
        if isinstance(transport, TcpTransport) and transport._io_writer is not None:
            transport._io_writer.transport.abort()
        if self._pulse is not None:
            self._pulse.cancel()
            await asyncio.wait([self._pulse])

    def _check_open(self) -> None:
        if self._closed:
            raise BrokerClosed("the broker connection is closed")

    def _check_there(self) -> None:
        if self._ended.done():
            raise type(self._ended.result())(str(self._ended.result()))

    def _is_denied(self, right: str, name: str) -> bool:
        """Whether the server has said so; nats-py hands on what it says in lower case."""
        return f"{right} {name}".lower() in self._denied

    async def _written(self) -> None:
        """Let nats-py write what it has queued; where the socket is full, wait until the broker has read on."""
        await asyncio.sleep(0)
        while self._client.pending_data_size and not self._ended.done():
            await self._round_trip()

    async def _round_trip(self) -> None:
        """Wait for an answer to a PING sent from now on, or for the connection to be lost."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._asked.set()
        await asyncio.wait((waiter, self._ended), return_when=asyncio.FIRST_COMPLETED)

    async def _beat(self) -> None:
        """Send PINGs: for whoever waits, else each PULSE."""
        while not self._ended.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), PULSE)
            self._asked.clear()
            await self._renew()
            waiting, self._waiting = self._waiting, []
            try:
                await self._client.flush(PULSE_TIMEOUT)
            except (NatsError, OSError) as error:
                stalled = isinstance(error, TimeoutError)
                reason = f"no answer to a ping within {PULSE_TIMEOUT} s" if stalled else _words(error)
                self._lose(reason, BrokerTimeout if stalled else BrokerReset)
            for waiter in waiting:
                waiter.set_result(None)

    async def _renew(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._stream is None or now < self._renew_at:
            return
        self._renew_at = now + PULSE
        self._work = [reading for reading in self._work if not reading.ended]
        for reading in self._work:
            await reading.renew()

    async def _on_error(self, error: Exception) -> None:
        if not self._connected:
            raise error  # or nats-py tries again until it runs out of attempts
        if denied := PERMISSIONS_VIOLATION.search(str(error)):
            self._denied.add(f"{'publish to' if denied[1] == 'publish' else 'subscribe to'} {denied[2]}")
            if self._stream is not None:
                self._stream.denied(denied[2])

    async def _on_disconnect(self) -> None:
        self._lose(_words(self._client.last_error or NatsError("the broker closed the connection")))

    def _lose(self, reason: str, kind: type[BrokerError] = BrokerReset) -> None:
        if self._closed or self._ended.done():
            return
        self._ended.set_result(kind(f"{self._parts.where}: {reason}"))
        for mailbox in self._mailboxes:
            mailbox.end(self._ended.result())
        for reading in self._work:
            reading.end(self._ended.result())
        if self._stream is not None:
            self._stream.end(self._ended.result())
        self._asked.set()


class _Reading:
    """One subject being read. See Subscription."""

    def __init__(self, subscription: NatsSubscription, mailbox: Mailbox) -> None:
        self._subscription = subscription
        self._mailbox = mailbox
        self.receive = mailbox.receive

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """It keeps nothing."""

    async def nack(self, deliveries: Sequence[Delivery]) -> None:
        """It keeps nothing."""

    async def aclose(self) -> None:
        self._mailbox.clear()
        self._mailbox.end(BrokerClosed("the subscription is closed"))
        with suppress(NatsError):  # already closed, or the connection is lost
            await self._subscription.unsubscribe()


class _NoTls(NatsError):
    """tls:// was asked for, and this server does not require TLS: nats-py would go on in the clear."""


def _refusal(where: str, error: Exception, timeout: float) -> BrokerError:
    """Why we are not in."""
    said = _words(error)
    if isinstance(error, _NoTls):
        return BrokerProtocolError(f"{where}: this server does not require TLS; give it `tls`, or ask by nats://")
    if "authorization" in said or "authentication" in said:
        return BrokerDenied(denied_credentials(where, said))
    if "maximum connections" in said:
        return BrokerRefused(f"{where}: it takes no more connections; raise its max_connections")
    if "info message" in said:
        return stranger(where, "it does not greet as a NATS server does", speaks="NATS")
    return unreachable(where, error, timeout=timeout, speaks="NATS")


def _words(error: Exception) -> str:
    """What nats-py or the server said."""
    return str(error).lower().removeprefix("nats: ").strip("'")


def _header_bytes(message: Outgoing) -> int:
    """What the headers take on the wire: `NATS/1.0`, a line each, an empty line."""
    return 12 + sum(len(name) + len(value.encode()) + 4 for name, value in message.headers) if message.headers else 0


def _but(refused: Collection[int], count: int) -> list[int]:
    """The positions below `count` that were not refused."""
    return [at for at in range(count) if at not in refused]

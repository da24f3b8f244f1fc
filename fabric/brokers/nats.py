"""NATS core, `nats://` and `tls://`: work is a queue group, inbox and topic are plain subjects; nothing is kept or confirmed.

Of nats-py this uses the connection and switches off the rest: one attempt to connect, no reconnecting, no buffering while down.
Three of its ways shape the code. A message costs 8-10 us by its own queue and task for each subscription, and a tenth of that
where `subscribe` is given a future to fulfil. A PING overtakes what is queued, so it proves something only when nothing is. A
PONG that comes for a cancelled flush() kills its reader, so one task sends all PINGs and nobody cancels it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache, partial

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError

from fabric.addressing import Channel, ChannelKind, channel_name
from fabric.brokers.base import Broker, Capabilities, Delivery, Outgoing, Subscription
from fabric.brokers.mailbox import Mailbox
from fabric.brokers.url import BrokerUrl, parse
from fabric.errors import BrokerClosed, BrokerDenied, BrokerUnavailable, PublishFailed

HEADER_RESERVE_BYTES = 1024
"""What the server's limit on a message leaves for headers, which count too."""

PULSE = 2.0
"""Seconds between PINGs while nothing else asks for one."""

PULSE_TIMEOUT = 4
"""Seconds until a PING without an answer means that the connection is lost: a stalled broker closes nothing."""

CLOSE_TIMEOUT = 1.0
"""Seconds aclose() gives what is still queued."""


async def connect(url: str, *, fabric: str, incarnation: str, timeout: float = 5.0) -> Broker:
    """Connect within `timeout` seconds. `token@` or `user:password@` in the URL; `tls://` refuses a server without TLS.

    Raises ConfigError, BrokerDenied for refused credentials, BrokerUnavailable for everything else.
    """
    parts = parse(url, default_port=4222)
    connection = _Nats(parts, fabric)
    try:
        async with asyncio.timeout(timeout):
            await connection.open(incarnation, timeout)
    except (NatsError, OSError, TimeoutError) as error:
        await connection.aclose()
        reason = f"no answer within {timeout:g} s" if isinstance(error, TimeoutError) else str(error).removeprefix("nats: ")
        if "authorization" in reason.lower() or "authentication" in reason.lower():
            raise BrokerDenied(f"{parts.where} refused our credentials: {reason}") from None
        raise BrokerUnavailable(f"{parts.where} cannot be reached: {reason}") from None
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
        self._denial = ""
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
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
            keeps=False, largest_message_bytes=max(1, self._client.max_payload - HEADER_RESERVE_BYTES)
        )
        self._pulse = asyncio.create_task(self._beat(), name="nats pulse")

    def _over_tls(self, secret: str | None) -> str:
        """`secret`, unless it would leave in the clear despite tls://: nats-py encrypts only where the server says so."""
        # no public attribute of nats-py tells what the server said
        if self._parts.scheme == "tls" and not self._client._server_info.get("tls_required"):
            raise NatsError("tls:// was asked for, but this server does not require TLS")
        return secret or ""

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        self._check_open()
        named = [(self._name(message.channel), message) for message in messages]
        if self._ended.done():
            raise PublishFailed(self._ended.result(), unsent=range(len(named)))
        count, largest = len(named), self.capabilities.largest_message_bytes
        refused = []
        for at, (name, message) in enumerate(named):
            if len(message.body) > largest or _header_bytes(message) > HEADER_RESERVE_BYTES:
                refused.append(at)
                continue
            try:
                await self._client.publish(name, message.body, headers=dict(message.headers) if message.headers else None)
            except NatsError as error:
                reason = f"{self._parts.where}: {error}"
                raise PublishFailed(reason, unsent=[*refused, *range(at, count)], unknown=_but(refused, at)) from None
        await self._written()
        if self._ended.done():
            raise PublishFailed(self._ended.result(), unsent=refused, unknown=_but(refused, count))
        if refused:
            raise PublishFailed(f"longer than the {largest} bytes {self._parts.where} takes", unsent=refused)

    async def subscribe(self, channel: Channel) -> Subscription:
        self._check_open()
        name, mailbox = self._name(channel), Mailbox()
        if self._ended.done():
            raise BrokerUnavailable(self._ended.result())
        self._denial = ""
        try:
            subscription = await self._client.subscribe(
                name, queue=name if channel.kind is ChannelKind.WORK else "", future=_Inlet(mailbox)
            )
        except NatsError as error:
            raise BrokerUnavailable(f"{self._parts.where}: {error}") from None
        self._mailboxes.append(mailbox)
        reading = _Reading(subscription, mailbox)
        await self._written()
        await self._round_trip()
        if self._ended.done():
            raise BrokerUnavailable(self._ended.result())
        if self._denial:
            await reading.aclose()
            raise BrokerDenied(f"{self._parts.where} refused to let us read {name}")
        return reading

    async def lost(self) -> str:
        return await asyncio.shield(self._ended)

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        for mailbox in self._mailboxes:
            mailbox.clear()
            mailbox.end(BrokerClosed("the broker connection is closed"))
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
            waiting, self._waiting = self._waiting, []
            try:
                await self._client.flush(PULSE_TIMEOUT)
            except (NatsError, OSError) as error:
                self._lose(f"no answer to a ping: {error}")
            for waiter in waiting:
                waiter.set_result(None)

    async def _on_error(self, error: Exception) -> None:
        if not self._connected:
            raise error  # or nats-py tries again until it runs out of attempts
        if "permissions violation" in str(error).lower():
            self._denial = str(error)

    async def _on_disconnect(self) -> None:
        self._lose(str(self._client.last_error or "the broker closed the connection"))

    def _lose(self, reason: str) -> None:
        if self._closed or self._ended.done():
            return
        self._ended.set_result(f"{self._parts.where}: {reason.removeprefix('nats: ')}")
        for mailbox in self._mailboxes:
            mailbox.end(BrokerUnavailable(self._ended.result()))
        self._asked.set()


class _Inlet(asyncio.Future[Msg]):
    """A future fulfilled by each message of a subscription: the one public way past nats-py's queue and task."""

    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__()
        self._mailbox = mailbox

    def set_result(self, result: Msg) -> None:
        self._mailbox.put(Delivery(result.data))


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


def _header_bytes(message: Outgoing) -> int:
    """What the headers take on the wire: `NATS/1.0`, a line each, an empty line."""
    return 12 + sum(len(name) + len(value.encode()) + 4 for name, value in message.headers) if message.headers else 0


def _but(refused: list[int], count: int) -> list[int]:
    """The positions below `count` that were not refused."""
    return [at for at in range(count) if at not in refused]

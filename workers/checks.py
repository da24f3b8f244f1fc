"""What `doctor` looks at, one function a subject: each gives its findings, and never raises for what it finds."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TypeVar

import msgspec

from fabric.addressing import ANNOUNCEMENTS, Channel, ChannelKind, channel_name, inbox, work
from fabric.brokers import registry
from fabric.brokers.base import Broker, OutgoingMessage, Rights, Subscription, TellsRights, Tidies
from fabric.config.secret import keyring
from fabric.config.settings import Address, Settings
from fabric.envelope import Envelope, Kind, encode, single
from fabric.errors import BrokerDenied, BrokerError, FabricError
from fabric.runtime.observer import Observer
from fabric.runtime.retry import Dialer
from fabric.security.secret import HOW_TO_MAKE_ONE
from workers.joining import settle
from workers.process import Place
from workers.shadow import OURS, REMEDY, shadow

ROUND_TRIP_TIMEOUT = 5.0
FIRST_ANSWER = 0.5
"""Seconds after which a message that has not come back is sent again: some brokers say only then that they refuse it."""
RIGHTS_REMEDY = "give its user the rights that docs/howto/broker-rights.md lists, and no others"
STEP_TIMEOUT = 20.0
"""Seconds for one thing that is tried at a broker, some of them by several connections and messages."""
BROKER_TIMEOUT = 5 * STEP_TIMEOUT
RESOLVE_TIMEOUT = 5.0
"""Seconds to find the address of a name to listen on."""

T = TypeVar("T")

Connected = Callable[[], AbstractAsyncContextManager[Broker]]


class Finding(msgspec.Struct, frozen=True):
    """One check. `remedy`: what to do where it is not ok; where it is, this is a warning. `seconds`: that it took."""

    check: str
    ok: bool
    detail: str
    remedy: str = ""
    seconds: float = 0.0


def failed(check: str, error: FabricError, otherwise: str) -> Finding:
    """An error that says itself what to do, behind a semicolon, knows it better than we."""
    detail, _, remedy = str(error).rpartition("; ")
    return Finding(check, False, detail, remedy) if detail else Finding(check, False, remedy, otherwise)


def package() -> Finding:
    """Whether the `fabric` that Python imports is ours."""
    found = shadow()
    return Finding("package", not found, found or str(OURS), REMEDY if found else "")


def clock() -> Finding:
    """Whether this machine's clock is behind files it has: session tokens and traces bear its time."""
    now, made = time.time(), OURS.stat().st_mtime
    detail = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    if now < made:
        return Finding("clock", False, f"{detail} is before this program was installed", "set the clock, and keep it by NTP")
    return Finding("clock", True, detail)


def secret(settings: Settings) -> Finding:
    """The fabric secret, and with the embedded broker the state folder it lies in."""
    try:
        keys = keyring(settings)
    except FabricError as error:
        return Finding(
            "secret", False, str(error), HOW_TO_MAKE_ONE if settings.fabric.broker else "set FABRIC_STATE to a folder of yours"
        )
    state = "" if settings.fabric.broker else f", state in {settings.fabric.state}"
    return Finding("secret", True, f"key {keys.signing_id}{state}")


async def broker(place: Place) -> AsyncIterator[Finding]:
    """A message of our own through inbox, work queue and topic: the broker is there, and we may; and who else is there."""
    fabric, me = place.settings.fabric.name, f"doctor-{secrets.token_hex(8)}"

    @asynccontextmanager
    async def connected() -> AsyncIterator[Broker]:
        connection = await registry.connect(place.url, fabric=fabric, incarnation=me, timeout=ROUND_TRIP_TIMEOUT)
        try:
            yield connection
        finally:
            await connection.aclose()

    try:
        async with connected() as connection:
            limit = connection.traits.largest_message_bytes
            yield Finding("broker", True, f"{registry.redacted(place.url)}; messages up to {limit} bytes")
            if place.settings.fabric.broker is not None and isinstance(connection, TellsRights):
                yield _rights(await _within(connection.rights()))
            try:
                for channel in (inbox(me), work(me)):
                    yield await _within(_round_trip(connected, channel, fabric, me))
                topic = await _within(_round_trip(connected, ANNOUNCEMENTS, fabric, me))
                yield await _members(place) if topic.ok else topic  # by the same topic, and says more
            finally:
                await _tidy(connection, me)
    except BrokerDenied as error:
        yield failed("broker", error, "give the right user and password, or token, in --broker")
    except FabricError as error:
        yield failed("broker", error, "start it, or name another with --broker")
    except TimeoutError:
        yield Finding(
            "broker", False, f"it does not answer within {STEP_TIMEOUT:g} s", "restart it, or name another with --broker"
        )


async def _within(step: Awaitable[T]) -> T:
    """What the step gives. Raises TimeoutError."""
    async with asyncio.timeout(STEP_TIMEOUT):
        return await step


async def _tidy(connection: Broker, me: str) -> None:
    """Take away what we made; where we may not, it expires."""
    with suppress(BrokerError, TimeoutError):
        async with asyncio.timeout(ROUND_TRIP_TIMEOUT):
            if isinstance(connection, Tidies):
                await connection.tidy(me)


async def _round_trip(connected: Connected, channel: Channel, fabric: str, me: str) -> Finding:
    """A message through this channel and back, on a connection of its own: a right that is missing may end it."""
    check = f"broker {channel.kind}"
    name = channel_name(fabric, Channel(channel.kind, "x")).removesuffix("x") + "*"
    remedy = f"let its user publish and subscribe to {name}; docs/howto/broker-rights.md lists all it needs"
    try:
        async with connected() as connection, asyncio.timeout(ROUND_TRIP_TIMEOUT):
            took = await _trip(connection, channel, me)
    except BrokerError as error:
        if channel.kind is not ChannelKind.WORK:
            return Finding(check, False, str(error), remedy)
        try:
            async with connected() as connection:
                return Finding(check, True, await _half(connection, channel, me, error), RIGHTS_REMEDY)
        except BrokerError as worse:
            return Finding(check, False, str(worse), remedy)
    except TimeoutError:
        return Finding(check, False, f"what was published does not come back within {ROUND_TRIP_TIMEOUT:g} s", remedy)
    return Finding(check, True, f"round trip {took * 1000:.1f} ms")


async def _half(connection: Broker, channel: Channel, me: str, error: BrokerError) -> str:
    """What work that may only be written, or only be read, is enough for. Raises BrokerError if it is something else."""
    if isinstance(error, BrokerDenied):
        for _ in range(2):  # some brokers say only at the second time that they refuse it
            await connection.publish([_message(channel, me)])
            await (await connection.subscribe(inbox(f"{me}-2"))).aclose()
        if await _joins(connection, channel):  # then it was refused later, and is not meant to be
            raise error
        return f"may be written, not read: enough for an edge, not for a bridge ({error})"
    if isinstance(error.__cause__, BrokerDenied):
        reader = await connection.subscribe(channel)
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ANSWER):
                await reader.receive(1)
        await reader.aclose()
        return f"may be read, not written: enough for a bridge, not for an edge ({error})"
    raise error


async def _joins(connection: Broker, channel: Channel) -> bool:
    """Whether we may begin to read, whatever comes then."""
    try:
        await (await connection.subscribe(channel)).aclose()
    except BrokerDenied:
        return False
    return True


async def _trip(connection: Broker, channel: Channel, me: str) -> float:
    """Seconds it takes. Raises BrokerError, TimeoutError."""
    message = _message(channel, me)
    subscription = await connection.subscribe(channel)
    started = time.perf_counter()
    await connection.publish([message])
    try:
        await _comes_back(subscription, message, FIRST_ANSWER)
    except TimeoutError:
        await connection.publish([message])
        await _comes_back(subscription, message, ROUND_TRIP_TIMEOUT)
    took = time.perf_counter() - started
    await subscription.aclose()
    await (await connection.subscribe(inbox(f"{me}-2"))).aclose()  # the acknowledgement was not refused either
    return took


def _message(channel: Channel, me: str) -> OutgoingMessage:
    """What disturbs nobody, whoever reads it."""
    return OutgoingMessage(channel, encode(single(me, Envelope(kind=Kind.BYE, exchange=secrets.token_hex(8)))))


async def _comes_back(subscription: Subscription, message: OutgoingMessage, timeout: float) -> None:
    """Read and acknowledge until it is there; a topic carries what others say, too. Raises TimeoutError, BrokerError."""
    async with asyncio.timeout(timeout):
        found = False
        while not found:
            deliveries = await subscription.receive(1)
            await subscription.ack(deliveries)
            found = message.body in [delivery.body for delivery in deliveries]


def _rights(rights: Rights) -> Finding:
    """Whether our user may do what it has to, and not far more."""
    missing = [f"every worker needs {', '.join(rights.missing)}"] if rights.missing else []
    missing += [f"a bridge needs {', '.join(rights.missing_to_bridges)}"] if rights.missing_to_bridges else []
    if missing:
        return Finding("broker rights", False, f"not given: {'; '.join(missing)}", RIGHTS_REMEDY)
    if rights.excess:
        return Finding("broker rights", True, f"wider than needed: our user may {', '.join(rights.excess)}", RIGHTS_REMEDY)
    return Finding("broker rights", True, "what is needed")


async def _members(place: Place) -> Finding:
    """Our own announcement through the topic, and who answers it."""
    observer = Observer(place.url, place.settings.fabric.name, place.identity(), Dialer(place.settings.fabric.retry))
    observer.node.start()
    try:
        await settle(observer.node, place, lambda: observer.node.ready)
    except FabricError as error:
        return Finding("broker topic", False, str(error), "give all workers one secret, and the right to its topics")
    finally:
        await observer.node.aclose()
    hosts = sorted(f"{said.role} {said.host}" for _, said in observer.node.heard())
    return Finding("broker topic", True, f"heard {', '.join(hosts)}" if hosts else "nobody else is there")


async def port(check: str, address: Address) -> Finding:
    """Whether this address can be listened on, or one of ours listens already."""
    remedy = f"choose another with --{check}; port 0 picks a free one"
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            addresses = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, target = addresses[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen(1)
    except TimeoutError:
        return Finding(check, False, f"{address}: the name has no address within {RESOLVE_TIMEOUT:g} s", remedy)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and await _is_ours(address):
            return Finding(check, True, f"{address} is served by a running fabric")
        return Finding(check, False, f"{address}: {error.strerror}", remedy)
    return Finding(check, True, f"{address} is free" if address.port else f"{address} picks a free port")


async def _is_ours(address: Address) -> bool:
    """Whether the health endpoint of a worker answers there."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            try:
                writer.write(f"GET /livez HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n".encode())
                return (await reader.read()).endswith(b'{"status":"live"}')
            finally:
                writer.close()
    return False

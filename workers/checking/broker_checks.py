"""The checks of `doctor` on the broker: it answers, our user has the rights of a worker, and which workers are there."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TypeVar

from fabric.addressing import ANNOUNCEMENTS, Channel, ChannelKind, channel_name, inbox, work
from fabric.brokers import registry
from fabric.brokers.base import Broker, OutgoingMessage, Rights, Subscription, TellsRights, Tidies
from fabric.envelope import Envelope, Kind, encode, single
from fabric.errors import BrokerDenied, BrokerError, FabricError
from fabric.runtime.observer import Observer
from fabric.runtime.retry import Dialer
from workers.asking.join import wait_until
from workers.checking.finding import Finding, failed
from workers.process.context import WorkerContext

ROUND_TRIP_TIMEOUT = 5.0
FIRST_ANSWER = 0.5
"""Seconds after which a message that has not come back is sent again: some brokers report a refusal only then."""
RIGHTS_REMEDY = "give its user the rights that docs/howto/broker-rights.md lists, and no others"
STEP_TIMEOUT = 20.0
"""Seconds for one step at the broker, which may take several connections and messages."""
BROKER_TIMEOUT = 5 * STEP_TIMEOUT
"""Seconds for all steps."""

T = TypeVar("T")

Connected = Callable[[], AbstractAsyncContextManager[Broker]]


async def broker(context: WorkerContext) -> AsyncIterator[Finding]:
    """Send a message of our own through inbox, work queue and topic, and list the workers that answer."""
    fabric, me = context.settings.fabric.name, f"doctor-{secrets.token_hex(8)}"

    @asynccontextmanager
    async def connected() -> AsyncIterator[Broker]:
        connection = await registry.connect(context.url, fabric=fabric, incarnation=me, timeout=ROUND_TRIP_TIMEOUT)
        try:
            yield connection
        finally:
            await connection.aclose()

    try:
        async with connected() as connection:
            limit = connection.traits.largest_message_bytes
            yield Finding("broker", True, f"{registry.redacted(context.url)}; messages up to {limit} bytes")
            if context.settings.fabric.broker is not None and isinstance(connection, TellsRights):
                yield _rights(await _within(connection.rights()))
            try:
                for channel in (inbox(me), work(me)):
                    yield await _within(_round_trip(connected, channel, fabric, me))
                topic = await _within(_round_trip(connected, ANNOUNCEMENTS, fabric, me))
                yield await _members(context) if topic.ok else topic  # it uses the same topic, and shows more
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
    """The result of the step. Raises TimeoutError."""
    async with asyncio.timeout(STEP_TIMEOUT):
        return await step


async def _tidy(connection: Broker, me: str) -> None:
    """Delete the channels that were made here; those that we may not delete expire."""
    with suppress(BrokerError, TimeoutError):
        async with asyncio.timeout(ROUND_TRIP_TIMEOUT):
            if isinstance(connection, Tidies):
                await connection.tidy(me)


async def _round_trip(connected: Connected, channel: Channel, fabric: str, me: str) -> Finding:
    """Send a message through this channel and back, on a connection of its own: a missing right may end the connection."""
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
                return Finding(check, True, await _partial_right(connection, channel, me, error), RIGHTS_REMEDY)
        except BrokerError as second:
            return Finding(check, False, str(second), remedy)
    except TimeoutError:
        return Finding(check, False, f"a published message does not come back within {ROUND_TRIP_TIMEOUT:g} s", remedy)
    return Finding(check, True, f"round trip {took * 1000:.1f} ms")


async def _partial_right(connection: Broker, channel: Channel, me: str, error: BrokerError) -> str:
    """The role for which only to write work, or only to read it, is enough. Raises BrokerError for another cause."""
    if isinstance(error, BrokerDenied):
        for _ in range(2):  # some brokers report a refusal only at the second attempt
            await connection.publish([_message(channel, me)])
            await (await connection.subscribe(inbox(f"{me}-2"))).aclose()
        if await _may_read(connection, channel):  # so another right was refused
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


async def _may_read(connection: Broker, channel: Channel) -> bool:
    """Whether our user may read a channel."""
    try:
        await (await connection.subscribe(channel)).aclose()
    except BrokerDenied:
        return False
    return True


async def _trip(connection: Broker, channel: Channel, me: str) -> float:
    """The seconds of a round trip. Raises BrokerError, TimeoutError."""
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
    await (await connection.subscribe(inbox(f"{me}-2"))).aclose()  # fails if the acknowledgement was refused
    return took


def _message(channel: Channel, me: str) -> OutgoingMessage:
    """A message that changes nothing for any reader."""
    return OutgoingMessage(channel, encode(single(me, Envelope(kind=Kind.BYE, exchange=secrets.token_hex(8)))))


async def _comes_back(subscription: Subscription, message: OutgoingMessage, timeout: float) -> None:
    """Read and acknowledge until the message arrives; a topic has other messages, too. Raises TimeoutError, BrokerError."""
    async with asyncio.timeout(timeout):
        arrived = False
        while not arrived:
            deliveries = await subscription.receive(1)
            await subscription.ack(deliveries)
            arrived = message.body in [delivery.body for delivery in deliveries]


def _rights(rights: Rights) -> Finding:
    """Whether our user has the rights that it needs, and not many more."""
    missing = [f"every worker needs {', '.join(rights.missing)}"] if rights.missing else []
    missing += [f"a bridge needs {', '.join(rights.missing_to_bridges)}"] if rights.missing_to_bridges else []
    if missing:
        return Finding("broker rights", False, f"missing: {'; '.join(missing)}", RIGHTS_REMEDY)
    if rights.excess:
        return Finding("broker rights", True, f"wider than needed: our user may {', '.join(rights.excess)}", RIGHTS_REMEDY)
    return Finding("broker rights", True, "what is needed")


async def _members(context: WorkerContext) -> Finding:
    """Announce ourselves on the topic, and list the workers that answer."""
    observer = Observer(context.url, context.settings.fabric.name, context.identity(), Dialer(context.settings.fabric.retry))
    observer.node.start()
    try:
        await wait_until(observer.node, context, lambda: observer.node.ready)
    except FabricError as error:
        return Finding("broker topic", False, str(error), "give all workers the same secret, and rights to the fabric's topics")
    finally:
        await observer.node.aclose()
    hosts = sorted(f"{worker.role} {worker.host}" for _, worker in observer.node.announcements())
    return Finding("broker topic", True, f"heard {', '.join(hosts)}" if hosts else "nobody else is there")

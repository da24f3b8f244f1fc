"""The contract of fabric/brokers/base.py for opening and losing a connection, checked on every broker."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Sequence

import pytest

from fabric.addressing import Channel, ChannelKind, inbox
from fabric.brokers.base import Broker, Subscription
from fabric.errors import BrokerClosed, BrokerDenied, BrokerReset, BrokerTimeout, BrokerUnavailable, ConfigError, PublishFailed
from tests.brokers import SECRET, Proxy, Server
from tests.contract.brokers.conftest import Connect
from tests.contract.brokers.steps import EVERY, SEPARATE, assert_reading_raises, bodies, outgoing, take
from tests.ports import free_port

pytestmark = [pytest.mark.requirement("K01"), pytest.mark.timeout(240)]

# ---------------------------------------------------------------- the end of a connection


@EVERY
async def test_after_aclose_every_call_raises_broker_closed_and_lost_never_returns(server: Server, connect: Connect) -> None:
    broker = await connect(server.url)
    lost = asyncio.ensure_future(broker.lost())
    subscriptions = [await broker.subscribe(Channel(kind, "ended")) for kind in ChannelKind]
    reading = [asyncio.ensure_future(subscription.receive(1)) for subscription in subscriptions]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await broker.aclose()
        await broker.aclose()
        for task in reading:
            with pytest.raises(BrokerClosed):
                await task
        for subscription in subscriptions:
            with pytest.raises(BrokerClosed):
                await subscription.receive(1)
            await subscription.aclose()
        with pytest.raises(BrokerClosed):
            await broker.publish(outgoing(inbox("ended"), b"x"))
        with pytest.raises(BrokerClosed):
            await broker.subscribe(inbox("ended"))
    assert not lost.done()
    lost.cancel()


@EVERY
async def test_closing_one_subscription_leaves_the_others_open(server: Server, connect: Connect) -> None:
    broker = await connect(server.url)
    for kind in ChannelKind:
        ended, living = await broker.subscribe(Channel(kind, "ended")), await broker.subscribe(Channel(kind, "living"))
        reading = asyncio.ensure_future(ended.receive(1))
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await ended.aclose()
            with pytest.raises(BrokerClosed):
                await reading
            with pytest.raises(BrokerClosed):
                await ended.receive(1)
            await ended.aclose()
        await broker.publish(outgoing(Channel(kind, "living"), b"on"))
        received = await take(living, 1)
        await living.ack(received)
        assert bodies(received) == [b"on"]


async def assert_lost(
    broker: Broker, subscriptions: Sequence[Subscription], timeout: float, kind: type[BrokerUnavailable] = BrokerReset
) -> None:
    """Every operation reports the loss and shows no secret; closing is quick and raises nothing."""
    async with asyncio.timeout(timeout):
        reason = await broker.lost()
    assert reason
    assert SECRET not in reason
    for subscription in subscriptions:
        await assert_reading_raises(kind, subscription)
        async with asyncio.timeout(10):
            await subscription.ack([])
    with pytest.raises(PublishFailed) as failed:
        async with asyncio.timeout(10):
            await broker.publish(outgoing(inbox("gone"), b"x", b"y"))
    assert failed.value.unsent == (0, 1)
    assert SECRET not in str(failed.value)
    with pytest.raises(kind):
        async with asyncio.timeout(10):
            await broker.subscribe(inbox("gone"))
    async with asyncio.timeout(10):
        await broker.aclose()


@pytest.mark.requirement("K05")
@SEPARATE
async def test_a_cut_connection_fails_every_operation(server: Server, connect: Connect) -> None:
    async with Proxy(server.port) as proxy:
        broker = await connect(server.url.replace(str(server.port), str(proxy.port)))
        subscriptions = [await broker.subscribe(Channel(kind, "cut")) for kind in ChannelKind]
        waiting = asyncio.ensure_future(subscriptions[0].receive(1))
        await asyncio.sleep(0)
        proxy.cut()
        await assert_lost(broker, subscriptions[1:], timeout=10)
        with pytest.raises(BrokerReset):
            await waiting


@SEPARATE
async def test_a_restarted_broker_ends_the_connection_and_accepts_a_new_one(own_server: Server, connect: Connect) -> None:
    broker = await connect(own_server.url)
    subscriptions = [await broker.subscribe(Channel(kind, "killed")) for kind in ChannelKind]
    own_server.restart()
    await assert_lost(broker, subscriptions, timeout=10)
    again = await connect(own_server.url)
    for kind in ChannelKind:
        subscription = await again.subscribe(Channel(kind, "killed"))
        await again.publish(outgoing(Channel(kind, "killed"), b"new life"))
        received = await take(subscription, 1)
        await subscription.ack(received)
        assert bodies(received) == [b"new life"]


@SEPARATE
async def test_a_stalled_broker_is_lost_within_ten_seconds_even_while_publishing(own_server: Server, connect: Connect) -> None:
    broker = await connect(own_server.url)
    subscription = await broker.subscribe(inbox("stalled"))

    async def publish() -> None:
        while True:
            await broker.publish(outgoing(inbox("stalled"), bytes(100_000)))

    own_server.signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(10):
            with pytest.raises(PublishFailed) as failed:
                await publish()
        assert set(failed.value.unsent) | set(failed.value.unknown) == {0}
        await assert_lost(broker, [subscription], timeout=10, kind=BrokerTimeout)
    finally:
        own_server.signal(signal.SIGCONT)


@pytest.mark.requirement("K05")
@SEPARATE
@pytest.mark.parametrize("kind", [ChannelKind.INBOX, ChannelKind.WORK])
async def test_messages_reported_as_unsent_never_arrive(server: Server, connect: Connect, kind: ChannelKind) -> None:
    """The fabric tells clients that they may send such a message again."""
    reader, channel = await connect(server.url), Channel(kind, "cut")
    subscription = await reader.subscribe(channel)
    unsent: set[bytes] = set()
    for turn in range(4):
        async with Proxy(server.port) as proxy:
            broker = await connect(server.url.replace(str(server.port), str(proxy.port)))
            count = 0
            asyncio.get_running_loop().call_later(0.002 * turn, proxy.cut)
            async with asyncio.timeout(10):
                while True:
                    batch = [b"%d.%d." % (turn, count + number) + bytes(2000) for number in range(20)]
                    count += len(batch)
                    try:
                        await broker.publish(outgoing(channel, *batch))
                    except PublishFailed as error:
                        unsent.update(batch[at] for at in error.unsent)
                        if len(error.unsent) == len(batch):
                            break
            await broker.aclose()
    await reader.publish(outgoing(channel, b"end"))
    arrived: set[bytes] = set()
    async with asyncio.timeout(20):
        while b"end" not in arrived:
            received = await subscription.receive(256)
            await subscription.ack(received)
            arrived.update(bodies(received))
    assert len(unsent) >= 80
    assert not unsent & arrived


# ---------------------------------------------------------------- connecting


@SEPARATE
@pytest.mark.requirement("K04")
async def test_wrong_credentials_are_denied_and_not_quoted(server: Server, connect: Connect) -> None:
    with pytest.raises(BrokerDenied) as denied:
        await connect(server.denied_url)
    chain, error = [], denied.value.__cause__
    while error is not None:
        chain.append(repr(error))
        error = error.__cause__
    assert SECRET not in " ".join([str(denied.value), repr(denied.value), *chain])
    assert str(server.port) in str(denied.value)


@SEPARATE
@pytest.mark.requirement("K04")
async def test_an_unreachable_broker_is_unavailable_within_the_timeout(server: Server, connect: Connect) -> None:
    port = free_port()
    with pytest.raises(BrokerUnavailable) as unavailable:
        async with asyncio.timeout(20):
            await connect(server.url.replace(str(server.port), str(port)), timeout=10)
    assert SECRET not in f"{unavailable.value}"
    assert str(port) in str(unavailable.value)


@SEPARATE
async def test_a_port_that_never_answers_is_unavailable_within_the_timeout(server: Server, connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = server.url.replace(str(server.port), str(silent.getsockname()[1]))
        with pytest.raises(BrokerUnavailable) as unavailable:
            async with asyncio.timeout(10):
                await connect(url, timeout=0.5)
    assert SECRET not in str(unavailable.value)


@SEPARATE
@pytest.mark.requirement("K04")
async def test_no_repr_of_a_connection_shows_its_secret(server: Server, connect: Connect) -> None:
    broker = await connect(server.url)
    subscription = await broker.subscribe(inbox("secret"))
    shown = [repr(broker), repr(subscription), *map(repr, vars(broker).values()), *map(repr, vars(subscription).values())]
    assert SECRET not in " ".join(shown)


@pytest.mark.requirement("K04")
@pytest.mark.parametrize(
    ("url", "mention"),
    [
        ("carrier-pigeon://u:s3cret@host", "carrier-pigeon"),
        ("u:s3cret@host", "nats://"),
        ("nats://u:s3/cret@host:port", "not a broker URL"),
        ("redis://u:s3cret@:6379", "names no host"),
        ("rediss://u:s3cret@host?password=s3cret", "unknown option 'password'"),
        ("tls://s3cret@host?ca=/no/such/file", "/no/such/file"),
    ],
)
async def test_a_bad_url_is_a_config_error_that_quotes_no_secret(connect: Connect, url: str, mention: str) -> None:
    with pytest.raises(ConfigError, match=mention) as wrong:
        await connect(url)
    assert "s3" not in str(wrong.value)

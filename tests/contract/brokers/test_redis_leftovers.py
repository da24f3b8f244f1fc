"""The Redis adapter leaves nothing in Redis after it is closed, and only expiring keys after it is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis

from fabric.addressing import Channel, ChannelKind, inbox, work
from fabric.brokers.base import OutgoingMessage
from fabric.brokers.redis.inbox_reader import INBOX_TTL
from fabric.brokers.redis.work_reader import FORGET_AFTER, WORK_TTL
from fabric.errors import PublishFailed
from tests.brokers import FAMILIES, Proxy, Server
from tests.contract.brokers.conftest import Connect
from tests.contract.brokers.steps import outgoing
from tests.waiting import until

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.parametrize("family", [family for family in FAMILIES if family.name in ("redis", "valkey")], ids=str),
]

Keys = Callable[[], Awaitable[dict[str, int]]]


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url, decode_responses=True) as client:
        yield client


@pytest.fixture
def keys(redis: Redis, fabric: str) -> Keys:
    """The fabric's keys, and the seconds until each expires."""

    async def get() -> dict[str, int]:
        return {key: await redis.ttl(key) async for key in redis.scan_iter(f"mcpf.{fabric}.*")}

    return get


async def test_closing_leaves_no_key_and_no_channel(
    server: Server, connect: Connect, redis: Redis, keys: Keys, fabric: str
) -> None:
    broker, sender = await connect(server.url), await connect(server.url)
    for kind in ChannelKind:
        subscription = await broker.subscribe(Channel(kind, "tidy"))
        await sender.publish([OutgoingMessage(Channel(kind, "tidy"), b"x")])
        await subscription.ack(await subscription.receive(1))
    assert await keys()
    assert await redis.pubsub_channels(f"mcpf.{fabric}.*")
    await broker.aclose()
    await sender.aclose()
    assert await keys() == {}
    assert await redis.pubsub_channels(f"mcpf.{fabric}.*") == []


async def test_read_and_acknowledged_messages_are_removed(server: Server, connect: Connect, redis: Redis, fabric: str) -> None:
    broker = await connect(server.url)
    done, read = await broker.subscribe(work("w")), await broker.subscribe(inbox("i"))
    await broker.publish([OutgoingMessage(channel, b"x") for channel in (work("w"), inbox("i")) for _ in range(10)])
    async with asyncio.timeout(30):
        await done.ack(await done.receive(10))
        await read.receive(10)
        reading = asyncio.ensure_future(read.receive(10))

    async def trimmed() -> bool:
        return await redis.xlen(f"mcpf.{fabric}.inbox.i") == 0

    await until(trimmed)
    reading.cancel()
    assert await redis.xlen(f"mcpf.{fabric}.work.w") == 0
    assert await redis.xpending(f"mcpf.{fabric}.work.w", "consumers") | {"pending": 0} == {
        "pending": 0,
        "min": None,
        "max": None,
        "consumers": [],
    }


async def test_the_keys_of_a_killed_process_expire(server: Server, connect: Connect, keys: Keys, fabric: str) -> None:
    async with Proxy(server.port) as proxy:
        broker = await connect(server.url.replace(str(server.port), str(proxy.port)))
        for kind in ChannelKind:
            await broker.subscribe(Channel(kind, "dead"))
        await broker.publish([OutgoingMessage(work("dead"), b"x"), OutgoingMessage(work("other"), b"x")])
        proxy.cut()
        async with asyncio.timeout(20):
            await broker.lost()
        await broker.aclose()
    left = await keys()
    assert set(left) == {f"mcpf.{fabric}.{name}" for name in ("work.dead", "work.dead.consumers", "work.other", "inbox.dead")}
    assert 0 < left.pop(f"mcpf.{fabric}.inbox.dead") <= INBOX_TTL <= 60
    assert all(0 < seconds <= WORK_TTL for seconds in left.values())


async def test_a_living_owner_renews_its_keys(server: Server, connect: Connect, redis: Redis, keys: Keys) -> None:
    broker = await connect(server.url)
    await broker.subscribe(inbox("alive"))
    await broker.subscribe(work("alive"))
    for key in await keys():
        await redis.expire(key, 10)

    async def renewed() -> bool:
        return min((await keys()).values()) > 10

    await until(renewed)


async def test_a_closed_subscription_is_no_longer_renewed(server: Server, connect: Connect, redis: Redis, keys: Keys) -> None:
    broker = await connect(server.url)
    await broker.subscribe(inbox("alive"))
    for channel in (inbox("closed"), work("closed")):
        await (await broker.subscribe(channel)).aclose()
    (alive,) = await keys()
    for _ in range(2):
        await redis.expire(alive, 10)

        async def renewed() -> bool:
            return (await keys())[alive] > 10

        await until(renewed)
    assert list(await keys()) == [alive]


async def test_a_killed_consumer_is_removed(server: Server, connect: Connect, redis: Redis, fabric: str) -> None:
    broker, key = await connect(server.url, "living"), f"mcpf.{fabric}.work.w"
    await broker.subscribe(work("w"))
    await redis.xgroup_createconsumer(key, "consumers", "killed")
    seconds, _ = await redis.time()
    await redis.zadd(f"{key}.consumers", {"killed": seconds - FORGET_AFTER - 1})

    async def forgotten() -> bool:
        return [consumer["name"] for consumer in await redis.xinfo_consumers(key, "consumers")] == ["living"]

    await until(forgotten)
    assert await redis.zrange(f"{key}.consumers", 0, -1) == ["living"]


async def test_a_deleted_inbox_or_work_stream_ends_the_connection(
    server: Server, connect: Connect, redis: Redis, fabric: str
) -> None:
    for channel in (inbox("gone"), work("gone")):
        broker = await connect(server.url)
        await broker.subscribe(channel)
        await redis.delete(f"mcpf.{fabric}.{channel.kind}.gone")
        async with asyncio.timeout(30):
            assert "gone" in await broker.lost()


async def test_publishing_creates_no_inbox(server: Server, connect: Connect, keys: Keys) -> None:
    broker = await connect(server.url)
    await broker.publish([OutgoingMessage(inbox("nobody"), b"x")])
    assert await keys() == {}


async def test_messages_that_redis_refuses_are_reported_as_unsent(
    server: Server, connect: Connect, redis: Redis, fabric: str
) -> None:
    broker = await connect(server.url)
    await redis.set(f"mcpf.{fabric}.inbox.taken", "by something else")
    with pytest.raises(PublishFailed, match="WRONGTYPE") as failed:
        await broker.publish([*outgoing(work("fine"), b"1"), *outgoing(inbox("taken"), b"2"), *outgoing(work("fine"), b"3")])
    assert (failed.value.unsent, failed.value.unknown) == ((1,), ())
    assert await redis.xlen(f"mcpf.{fabric}.work.fine") == 2


async def test_databases_of_one_redis_are_separate(server: Server, connect: Connect) -> None:
    brokers = [await connect(f"{server.url}{path}") for path in ("", "/1")]
    for kind in ChannelKind:
        subscriptions = [await broker.subscribe(Channel(kind, "same")) for broker in brokers]
        await brokers[1].publish([OutgoingMessage(Channel(kind, "same"), b"one")])
        await brokers[0].publish([OutgoingMessage(Channel(kind, "same"), b"zero")])
        async with asyncio.timeout(30):
            for subscription, expected in zip(subscriptions, (b"zero", b"one"), strict=True):
                received = await subscription.receive(8)
                await subscription.ack(received)
                assert [delivery.body for delivery in received] == [expected]

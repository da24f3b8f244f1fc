"""The AMQP adapter beyond the contract: leftovers at RabbitMQ, denied rights, and a broker short of memory."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from urllib.parse import urlsplit

import aiormq
import pytest
from aiormq.abc import AbstractConnection
from pamqp.common import FieldValue

from fabric.addressing import Channel, ChannelKind, inbox, work
from fabric.brokers.amqp.adapter import MOST_WORK, WORK_TTL
from fabric.brokers.base import OutgoingMessage
from fabric.errors import BrokerDenied, PublishFailed
from tests.brokers import FAMILIES, SECRET, Proxy, Server, Shared
from tests.contract.brokers.conftest import Connect
from tests.contract.brokers.steps import bodies, outgoing, take
from tests.contract.brokers.test_errors import assert_clear
from tests.waiting import until

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.parametrize("family", [family for family in FAMILIES if family.name == "amqp"], ids=str),
]

Exists = Callable[[str], Awaitable[bool]]


@pytest.fixture
async def rabbit(server: Server) -> AsyncIterator[AbstractConnection]:
    async with aiormq.connect(server.url) as connection:
        yield connection


@pytest.fixture
def exists(rabbit: AbstractConnection) -> Exists:
    """Whether an exchange or a queue of this name exists."""

    async def look(name: str) -> bool:
        channel = await rabbit.channel()
        try:
            if name.count(".") == 1:
                await channel.exchange_declare(name, passive=True)
            else:
                await channel.queue_declare(name, passive=True)
        except aiormq.ChannelNotFoundEntity:
            return False
        except aiormq.ChannelLockedResource:
            return True
        await channel.close()
        return True

    return look


async def test_closing_a_connection_leaves_only_queues_that_expire(
    server: Server, connect: Connect, rabbit: AbstractConnection, exists: Exists, fabric: str
) -> None:
    broker, sender = await connect(server.url), await connect(server.url)
    for kind in ChannelKind:
        subscription = await broker.subscribe(Channel(kind, "tidy"))
        await sender.publish([OutgoingMessage(Channel(kind, "tidy"), b"x")])
        await subscription.ack(await subscription.receive(1))
    queue = vars(broker)["_queue"]
    assert await exists(queue)
    await broker.aclose()
    assert not await exists(queue)
    await sender.aclose()
    assert await exists(f"mcpf.{fabric}.work.tidy")
    assert await exists(f"mcpf.{fabric}")
    await (await rabbit.channel()).queue_delete(f"mcpf.{fabric}.work.tidy")
    assert not await exists(f"mcpf.{fabric}")


async def test_a_fabric_without_work_leaves_nothing_at_the_broker(
    server: Server, connect: Connect, exists: Exists, fabric: str
) -> None:
    broker = await connect(server.url)
    await broker.subscribe(inbox("tidy"))
    assert await exists(f"mcpf.{fabric}")
    await broker.aclose()
    assert not await exists(f"mcpf.{fabric}")


async def test_work_queues_expire_and_are_bounded(
    server: Server, connect: Connect, rabbit: AbstractConnection, fabric: str
) -> None:
    await (await connect(server.url)).publish(outgoing(work("w"), b"x"))
    expected: dict[str, FieldValue] = {"x-expires": WORK_TTL * 1000, "x-max-length": MOST_WORK, "x-overflow": "reject-publish"}
    channel = await rabbit.channel()
    declared = await channel.queue_declare(f"mcpf.{fabric}.work.w", durable=True, arguments={**expected})  # or 406
    assert declared.message_count == 1
    for name, other in (("x-expires", 1000), ("x-max-length", 1), ("x-overflow", "drop-head")):
        with pytest.raises(aiormq.ChannelPreconditionFailed):
            await (await rabbit.channel()).queue_declare(
                f"mcpf.{fabric}.work.w", durable=True, arguments={**expected, name: other}
            )


async def test_a_killed_process_loses_its_reader_queue_at_once_and_its_work_is_redelivered(
    server: Server, connect: Connect, exists: Exists
) -> None:
    async with Proxy(server.port) as proxy:
        broker = await connect(server.url.replace(str(server.port), str(proxy.port)))
        await broker.subscribe(inbox("dead"))
        held = await broker.subscribe(work("dead"))
        await broker.publish(outgoing(work("dead"), b"x"))
        await take(held, 1)
        queue = vars(broker)["_queue"]
        assert await exists(queue)
        proxy.cut()
        async with asyncio.timeout(20):
            await broker.lost()

        async def is_gone() -> bool:
            return not await exists(queue)

        await until(is_gone)
    other = await (await connect(server.url)).subscribe(work("dead"))
    assert bodies(await take(other, 1)) == [b"x"]


async def test_a_new_connection_reads_an_inbox_at_once_while_the_old_one_is_still_open(
    server: Server, connect: Connect
) -> None:
    sender, old, new = await connect(server.url), await connect(server.url, "same"), await connect(server.url, "same")
    lingering = await old.subscribe(inbox("same"))
    taken_up = await new.subscribe(inbox("same"))
    await sender.publish(outgoing(inbox("same"), b"x"))
    assert bodies(await take(taken_up, 1)) == [b"x"]
    assert bodies(await take(lingering, 1)) == [b"x"]


async def test_publishing_to_a_deleted_work_queue_fails_as_unsent_and_the_next_publish_recreates_it(
    server: Server, connect: Connect, rabbit: AbstractConnection, fabric: str
) -> None:
    broker = await connect(server.url)
    await broker.publish(outgoing(work("w"), b"lost"))
    await (await rabbit.channel()).queue_delete(f"mcpf.{fabric}.work.w")
    await broker.subscribe(inbox("fine"))
    with pytest.raises(PublishFailed, match="deleted") as failed:
        await broker.publish([*outgoing(inbox("fine"), b"1"), *outgoing(work("w"), b"2", b"3")])
    assert (failed.value.unsent, failed.value.unknown) == ((1, 2), ())
    await broker.publish(outgoing(work("w"), b"again"))
    assert bodies(await take(await broker.subscribe(work("w")), 1)) == [b"again"]


async def test_a_work_queue_deleted_while_it_is_read_ends_the_connection(
    server: Server, connect: Connect, rabbit: AbstractConnection, fabric: str
) -> None:
    broker = await connect(server.url)
    reading = asyncio.ensure_future((await broker.subscribe(work("w"))).receive(1))
    await asyncio.sleep(0)
    await broker.publish(outgoing(inbox("nobody"), b"after the consumer"))
    await (await rabbit.channel()).queue_delete(f"mcpf.{fabric}.work.w")
    async with asyncio.timeout(30):
        assert "deleted" in await broker.lost()
    await asyncio.wait([reading])
    assert reading.exception() is not None


async def test_a_consumer_that_acknowledges_nothing_takes_no_work_from_others(server: Server, connect: Connect) -> None:
    sender, full, free = [await connect(server.url) for _ in range(3)]
    busy, idle = await full.subscribe(work("w")), await free.subscribe(work("w"))
    await sender.publish(outgoing(work("w"), b"0"))
    taken = await take(busy, 1, limit=1)
    await sender.publish(outgoing(work("w"), *[b"%d" % number for number in range(1, 40)]))
    rest = await take(idle, 39)
    assert bodies(rest) == [b"%d" % number for number in range(1, 40)]
    await busy.ack(taken)
    await idle.ack(rest)


async def test_a_cancelled_subscribe_holds_no_work(server: Server, connect: Connect) -> None:
    broker, dice = await connect(server.url), random.Random(5)
    for _ in range(40):
        subscribing = asyncio.ensure_future(broker.subscribe(work("w")))
        await asyncio.sleep(dice.random() * 0.004)
        subscribing.cancel()
        await asyncio.wait([subscribing])
        if not subscribing.cancelled():
            await subscribing.result().aclose()
    subscription = await broker.subscribe(work("w"))
    await broker.publish(outgoing(work("w"), *[b"%d" % number for number in range(100)]))
    received = await take(subscription, 100)
    await subscription.ack(received)
    assert len(set(bodies(received))) == 100


def url_of(user: str, server: Server, vhost: str = "") -> str:
    return f"amqp://{user}:{SECRET}@127.0.0.1:{server.port}/{vhost}"


@pytest.mark.requirement("K04")
async def test_the_documented_rights_suffice_and_an_edge_cannot_read_work(server: Server, connect: Connect) -> None:
    edge, bridge = (
        await connect(url_of("edge", server), fabric="default"),
        await connect(url_of("bridge", server), fabric="default"),
    )
    for reader, writer in ((edge, bridge), (bridge, edge)):
        for kind in (ChannelKind.INBOX, ChannelKind.TOPIC):
            subscription = await reader.subscribe(Channel(kind, "own"))
            await writer.publish([OutgoingMessage(Channel(kind, "own"), b"x")])
            assert bodies(await take(subscription, 1)) == [b"x"]
    with pytest.raises(BrokerDenied, match="rights") as denied:
        await edge.subscribe(work("theirs"))
    assert_clear(denied.value, server.port, "mcpf.default.work.theirs", "edge")
    await edge.publish(outgoing(work("theirs"), b"x"))
    received = await take(working := await bridge.subscribe(work("theirs")), 1)
    await working.ack(received)
    assert bodies(received) == [b"x"]


@pytest.mark.requirement("K04")
async def test_connecting_to_another_fabric_is_denied_and_the_error_names_it(server: Server, connect: Connect) -> None:
    for other in ("default-not", "other"):
        with pytest.raises(BrokerDenied, match="rights") as denied:
            await connect(url_of("bridge", server), fabric=other)
        assert_clear(denied.value, server.port, f"mcpf.{other}'", "bridge")


@pytest.mark.requirement("K04")
async def test_a_missing_or_forbidden_vhost_is_denied_and_the_error_names_it(server: Server, connect: Connect) -> None:
    for user, vhost in (("tester", "no-such"), ("bridge", urlsplit(server.url).path.strip("/"))):
        with pytest.raises(BrokerDenied, match="vhost") as denied:
            await connect(url_of(user, server, vhost))
        assert_clear(denied.value, server.port, vhost)


# ---------------------------------------------------------------- a broker short of memory


def limit_memory(server: Server, share: float) -> None:
    """Set RabbitMQ's memory limit to this share of the machine's memory."""
    assert isinstance(server, Shared)
    whole = server.whole
    cookie = (whole.directory / ".erlang.cookie").read_text()
    function = f"vm_memory_monitor set_vm_memory_high_watermark [{share:.5f}]"
    command = ["erl_call", "-sname", whole.environment["RABBITMQ_NODENAME"], "-c", cookie, "-a", function]
    subprocess.run(command, env={**os.environ, **whole.environment}, check=True, timeout=30, capture_output=True)


async def test_a_broker_short_of_memory_fails_publishes_at_once_and_keeps_the_connection(
    server: Server, connect: Connect
) -> None:
    broker = await connect(server.url)
    reader = await broker.subscribe(inbox("own"))
    sent = count()

    async def publish() -> None:
        await broker.publish(outgoing(inbox("own"), b"%d" % next(sent)))

    async def until_refused() -> PublishFailed:
        while True:
            try:
                await publish()
            except PublishFailed as error:
                return error

    async with asyncio.timeout(40):
        limit_memory(server, 0.00001)
        try:
            first, second = await until_refused(), await until_refused()
        finally:
            limit_memory(server, 0.4)
        assert (first.unknown, second.unsent) == ((0,), (0,))
        assert_clear(second, server.port, "memory")
        late = next(sent) - 2  # all but the second, which was not sent
        assert bodies(await take(reader, late + 1)) == [b"%d" % number for number in range(late + 1)]
        while True:
            try:
                await broker.publish(outgoing(inbox("own"), b"again"))
                break
            except PublishFailed:
                await asyncio.sleep(0.02)
        assert bodies(await take(reader, 1)) == [b"again"]

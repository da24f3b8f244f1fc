"""The contract of fabric/brokers/base.py for messages, checked on every broker in `tests.brokers.FAMILIES`."""

from __future__ import annotations

import asyncio
import random

import pytest

from fabric.addressing import Channel, ChannelKind, inbox, work
from fabric.brokers.base import Delivery, OutgoingMessage
from fabric.errors import InvalidName, PublishFailed
from tests.brokers import Family, Proxy, Server
from tests.contract.brokers.conftest import Connect
from tests.contract.brokers.steps import BOUNDED, EVERY, KEEPING, KINDS, bodies, numbered, outgoing, take

pytestmark = [pytest.mark.requirement("K01"), pytest.mark.timeout(240)]

HOSTILE = [
    *(
        "*",
        ">",
        ".",
        "a.b",
        "a.*",
        "a.>",
        "#",
        "/",
        "a/b",
        "..",
        "a b",
        " ",
        ":",
        "{a}",
        "%2e",
        "\\",
        "'\"",
        "\t",
        "\r\n",
        "\0",
    ),
    *("a", "A", "_61", "_", "__", "_5f", "ä", "a\u0308", "日本語", "💥", "$SYS", "-", "$1", "_20", "x" * 120),
]


AT_ONCE = 5.0
"""Seconds: shorter than any broker waits before it redelivers the work of a silent consumer."""

# ---------------------------------------------------------------- delivery


@EVERY
@KINDS
async def test_messages_arrive_in_the_order_of_their_publishing(server: Server, connect: Connect, kind: ChannelKind) -> None:
    channel, sent = Channel(kind, "orderly"), numbered(400)
    sender, reader = await connect(server.url), await connect(server.url)
    subscription = await reader.subscribe(channel)
    for start in range(0, 400, 37):
        await sender.publish(outgoing(channel, *sent[start : start + 37]))
    received = await take(subscription, 400, limit=50)
    await subscription.ack(received)
    assert bodies(received) == sent


@EVERY
async def test_a_topic_message_reaches_every_subscriber_including_the_sender(server: Server, connect: Connect) -> None:
    topic = Channel(ChannelKind.TOPIC, "news")
    brokers = [await connect(server.url) for _ in range(3)]
    subscriptions = [await broker.subscribe(topic) for broker in brokers]
    await brokers[0].publish(outgoing(topic, b"hello", b"again"))
    for subscription in subscriptions:
        assert bodies(await take(subscription, 2)) == [b"hello", b"again"]


@EVERY
async def test_one_connection_reads_many_channels_concurrently(server: Server, connect: Connect) -> None:
    broker = await connect(server.url)
    channels = [Channel(kind, name) for kind in ChannelKind for name in ("one", "two")]
    subscriptions = [await broker.subscribe(channel) for channel in channels]
    await broker.publish([OutgoingMessage(channel, f"{channel.kind} {channel.name}".encode()) for channel in channels])
    for channel, subscription in zip(channels, subscriptions, strict=True):
        received = await take(subscription, 1)
        assert bodies(received) == [f"{channel.kind} {channel.name}".encode()]
        await subscription.ack(received)


@EVERY
async def test_each_work_message_reaches_one_consumer_and_every_consumer_gets_a_share(server: Server, connect: Connect) -> None:
    channel, sender = work("shared"), await connect(server.url)
    subscriptions = [await (await connect(server.url)).subscribe(channel) for _ in range(3)]
    taken: list[list[bytes]] = [[], [], []]
    arrived = asyncio.Semaphore(0)

    async def consume(number: int) -> None:
        while True:
            deliveries = await subscriptions[number].receive(4)
            taken[number] += bodies(deliveries)
            await subscriptions[number].ack(deliveries)
            for _ in deliveries:
                arrived.release()

    consumers = [asyncio.create_task(consume(number)) for number in range(3)]
    sent = numbered(600)
    async with asyncio.timeout(40):
        for start in range(0, 600, 20):
            await sender.publish(outgoing(channel, *sent[start : start + 20]))
        for _ in range(600):
            await arrived.acquire()
    for consumer in consumers:
        consumer.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)
    assert sorted(taken[0] + taken[1] + taken[2]) == sorted(sent)
    assert all(len(share) >= 60 for share in taken), [len(share) for share in taken]


@EVERY
async def test_receive_returns_no_more_than_its_limit(server: Server, connect: Connect) -> None:
    broker = await connect(server.url)
    for channel in (work("limited"), inbox("limited"), Channel(ChannelKind.TOPIC, "limited")):
        subscription = await broker.subscribe(channel)
        await broker.publish(outgoing(channel, *numbered(10)))
        received: list[Delivery] = []
        while len(received) < 10:
            async with asyncio.timeout(30):
                some = await subscription.receive(3)
            assert 1 <= len(some) <= 3
            received += some
        assert bodies(received) == numbered(10)
        await subscription.ack(received)


@EVERY
async def test_two_thousand_messages_of_one_publish_all_arrive(server: Server, connect: Connect) -> None:
    channel, sent = inbox("busy"), [b"%06d" % number + b"." * 300 for number in range(2000)]
    sender, reader = await connect(server.url), await connect(server.url)
    subscription = await reader.subscribe(channel)
    await sender.publish(outgoing(channel, *sent))
    assert bodies(await take(subscription, 2000, limit=256)) == sent


@EVERY
async def test_headers_do_not_change_the_body(server: Server, connect: Connect) -> None:
    broker = await connect(server.url)
    for channel in (work("headed"), inbox("headed"), Channel(ChannelKind.TOPIC, "headed")):
        subscription = await broker.subscribe(channel)
        await broker.publish([OutgoingMessage(channel, b"\0body\r\n", (("traceparent", "00-aa-bb-01"), ("expires", "1")))])
        received = await take(subscription, 1)
        assert bodies(received) == [b"\0body\r\n"]
        await subscription.ack(received)


# ---------------------------------------------------------------- inboxes


@EVERY
async def test_a_message_to_an_inbox_without_a_reader_is_dropped(server: Server, connect: Connect) -> None:
    sender, owner = await connect(server.url), await connect(server.url)
    await sender.publish(outgoing(inbox("late"), b"to nobody"))
    await sender.subscribe(Channel(ChannelKind.TOPIC, "after"))  # a round trip, for brokers that confirm no publish
    subscription = await owner.subscribe(inbox("late"))
    await sender.publish(outgoing(inbox("late"), b"to somebody"))
    assert bodies(await take(subscription, 1)) == [b"to somebody"]


@EVERY
async def test_closing_an_inbox_subscription_discards_its_unread_messages(server: Server, connect: Connect) -> None:
    sender, owner = await connect(server.url), await connect(server.url)
    first = await owner.subscribe(inbox("reborn"))
    await sender.publish(outgoing(inbox("reborn"), b"unread"))
    await first.aclose()
    await sender.publish(outgoing(inbox("reborn"), b"between"))
    second = await (await connect(server.url)).subscribe(inbox("reborn"))
    await sender.publish(outgoing(inbox("reborn"), b"new"))
    assert bodies(await take(second, 1)) == [b"new"]


# ---------------------------------------------------------------- brokers that keep work


@KEEPING
async def test_work_published_before_any_subscription_is_delivered_later(server: Server, connect: Connect) -> None:
    sender = await connect(server.url)
    await sender.publish(outgoing(work("early"), b"first", b"second"))
    subscription = await (await connect(server.url)).subscribe(work("early"))
    received = await take(subscription, 2)
    await subscription.ack(received)
    assert bodies(received) == [b"first", b"second"]


@KEEPING
async def test_nacked_work_is_redelivered_to_others_at_once_and_in_order(server: Server, connect: Connect) -> None:
    sender, one, other = [await connect(server.url) for _ in range(3)]
    mine = await one.subscribe(work("returned"))
    await sender.publish(outgoing(work("returned"), *numbered(5)))
    received = await take(mine, 5)
    assert not any(delivery.redelivered for delivery in received)
    others = await other.subscribe(work("returned"))
    await mine.nack(received)
    again = await take(others, 5, timeout=AT_ONCE)
    await others.ack(again)
    assert bodies(again) == numbered(5)
    assert all(delivery.redelivered for delivery in again)


@KEEPING
async def test_unacknowledged_work_goes_to_others_when_its_consumer_closes(server: Server, connect: Connect) -> None:
    sender, one, other = [await connect(server.url) for _ in range(3)]
    mine = await one.subscribe(work("left"))
    await sender.publish(outgoing(work("left"), *numbered(5)))
    received = await take(mine, 5)
    await mine.ack(received[:2])
    others = await other.subscribe(work("left"))
    await one.aclose()
    again = await take(others, 3, timeout=AT_ONCE)
    await others.ack(again)
    assert bodies(again) == numbered(5)[2:]
    assert all(delivery.redelivered for delivery in again)


@KEEPING
async def test_a_dead_consumers_work_is_redelivered_and_a_living_consumer_keeps_its_own(
    server: Server, connect: Connect
) -> None:
    sender, living, other = [await connect(server.url) for _ in range(3)]
    async with Proxy(server.port) as proxy:
        dying = await (await connect(server.url.replace(str(server.port), str(proxy.port)))).subscribe(work("orphaned"))
        await sender.publish(outgoing(work("orphaned"), *numbered(5)))
        await dying.ack((await take(dying, 5))[:2])
        holder = await living.subscribe(work("held"))
        await sender.publish(outgoing(work("held"), b"long"))
        held = await take(holder, 1)
        proxy.cut()
        waiting = await other.subscribe(work("held"))
        pending = asyncio.ensure_future(waiting.receive(1))
        others = await other.subscribe(work("orphaned"))
        again = await take(others, 3, timeout=30)
        await others.ack(again)
    assert bodies(again) == numbered(5)[2:]
    assert all(delivery.redelivered for delivery in again)
    await asyncio.wait([pending], timeout=3)
    assert not pending.done()
    await holder.ack(held)
    await holder.aclose()
    await sender.publish(outgoing(work("held"), b"next"))
    async with asyncio.timeout(30):
        received = await pending
    await waiting.ack(received)
    assert bodies(received) == [b"next"]


@EVERY
async def test_an_ack_or_nack_of_an_older_connection_does_nothing(server: Server, connect: Connect, family: Family) -> None:
    sender, first = await connect(server.url), await connect(server.url, "same")
    before = await first.subscribe(work("epochs"))
    await sender.publish(outgoing(work("epochs"), b"once"))
    stale = await take(before, 1)
    await first.aclose()
    after = await (await connect(server.url, "same")).subscribe(work("epochs"))
    await after.ack(stale)
    await after.nack(stale)
    await before.ack(stale)
    await before.nack(stale)
    await sender.publish(outgoing(work("epochs"), b"end"))
    expected = [b"once", b"end"] if family.keeps else [b"end"]
    received = await take(after, len(expected))
    await after.ack(received)
    assert bodies(received) == expected


@BOUNDED
async def test_a_full_work_queue_fails_the_publish_and_lists_the_unsent_messages(server: Server, connect: Connect) -> None:
    broker = await connect(server.url)
    subscription = await broker.subscribe(work("full"))
    filling = outgoing(work("full"), *[bytes(1024 * 1024) if not broker.traits.keeps else b"x"] * 1000)
    accepted = 0

    async def overfill() -> None:
        nonlocal accepted
        while True:
            await broker.publish(filling)
            accepted += len(filling)

    with pytest.raises(PublishFailed) as failed:
        await overfill()
    assert failed.value.unsent
    assert not failed.value.unknown
    assert list(failed.value.unsent) == sorted(failed.value.unsent)
    accepted += len(filling) - len(failed.value.unsent)
    await broker.publish(outgoing(inbox("elsewhere"), b"still works"))
    for _ in range(accepted // 50):
        await subscription.ack(await take(subscription, 50, limit=50))
    await broker.publish(outgoing(work("full"), b"room again"))


# ---------------------------------------------------------------- cancellation


@EVERY
@KINDS
async def test_cancelling_receive_loses_no_message(server: Server, connect: Connect, kind: ChannelKind) -> None:
    channel, sent, dice = Channel(kind, "interrupted"), numbered(300), random.Random(7)
    sender, reader = await connect(server.url), await connect(server.url)
    subscription = await reader.subscribe(channel)

    async def publish() -> None:
        for start in range(0, 300, 3):
            await sender.publish(outgoing(channel, *sent[start : start + 3]))
            await asyncio.sleep(dice.random() * 0.002)

    publishing = asyncio.create_task(publish())
    received: list[Delivery] = []
    async with asyncio.timeout(40):
        while len(received) < 300:
            reading = asyncio.ensure_future(subscription.receive(8))
            for _ in range(dice.randrange(6)):
                await asyncio.sleep(0)
            if dice.random() < 0.7:
                reading.cancel()
            await asyncio.wait([reading])
            if not reading.cancelled():
                received += reading.result()
    await publishing
    await subscription.ack(received)
    assert bodies(received) == sent


@EVERY
async def test_cancelling_publish_keeps_the_connection_usable_and_the_order(server: Server, connect: Connect) -> None:
    channel, dice = inbox("publisher"), random.Random(11)
    sender, reader = await connect(server.url), await connect(server.url)
    subscription = await reader.subscribe(channel)
    certain: list[bytes] = []
    for batch in range(60):
        mine = [b"%d-%d" % (batch, number) for number in range(5)]
        publishing = asyncio.ensure_future(sender.publish(outgoing(channel, *mine)))
        for _ in range(dice.randrange(5)):
            await asyncio.sleep(0)
        if batch % 2:
            publishing.cancel()
        async with asyncio.timeout(30):
            await asyncio.wait([publishing])
        if not publishing.cancelled():
            publishing.result()
            certain += mine
    await sender.publish(outgoing(channel, b"end"))
    received: list[bytes] = []
    while b"end" not in received:
        received += bodies(await take(subscription, 1))
    assert [body for body in received if body in set(certain)] == certain
    assert len(received) == len(set(received))
    positions = [tuple(map(int, body.split(b"-"))) for body in received[:-1]]
    assert positions == sorted(positions)


# ---------------------------------------------------------------- names


@EVERY
@KINDS
@pytest.mark.requirement("K08")
async def test_hostile_names_neither_collide_nor_leak(server: Server, connect: Connect, kind: ChannelKind) -> None:
    broker = await connect(server.url)
    names = [name for name in HOSTILE if len(name) < 120] + ["x" * 119, "x" * 120]
    subscriptions = {name: await broker.subscribe(Channel(kind, name)) for name in names}
    await broker.publish([OutgoingMessage(Channel(kind, name), repr(name).encode()) for name in names])
    await broker.publish([OutgoingMessage(Channel(kind, name), b"end") for name in names])
    for name, subscription in subscriptions.items():
        received = await take(subscription, 2)
        await subscription.ack(received)
        assert bodies(received) == [repr(name).encode(), b"end"]


@EVERY
@pytest.mark.requirement("K08")
async def test_an_invalid_channel_name_is_refused_before_anything_is_sent(server: Server, connect: Connect) -> None:
    broker = await connect(server.url)
    subscription = await broker.subscribe(inbox("good"))
    for name in ("", "x" * 121, "*" * 41, "\ud800"):
        with pytest.raises(InvalidName):
            await broker.publish([OutgoingMessage(inbox("good"), b"sent too early"), OutgoingMessage(inbox(name), b"x")])
        with pytest.raises(InvalidName):
            await broker.subscribe(inbox(name))
    await broker.publish(outgoing(inbox("good"), b"sent"))
    assert bodies(await take(subscription, 1)) == [b"sent"]


@EVERY
@KINDS
@pytest.mark.requirement("K08")
async def test_two_fabrics_on_one_broker_never_receive_each_others_messages(
    server: Server, connect: Connect, kind: ChannelKind, fabric: str
) -> None:
    channel = Channel(kind, "same")
    names = [f"{fabric}{ending}" for ending in ("", ".", ".work", "*", ">", "_", "-2")]
    brokers = [await connect(server.url, fabric=name) for name in names]
    subscriptions = [await broker.subscribe(channel) for broker in brokers]
    for broker, name in zip(brokers, names, strict=True):
        await broker.publish(outgoing(channel, name.encode()))
    for broker in brokers:
        await broker.publish(outgoing(channel, b"end"))
    for subscription, name in zip(subscriptions, names, strict=True):
        received = await take(subscription, 2)
        await subscription.ack(received)
        assert bodies(received) == [name.encode(), b"end"]


# ---------------------------------------------------------------- sizes


@EVERY
async def test_the_largest_message_is_delivered_and_only_a_larger_one_is_refused(server: Server, connect: Connect) -> None:
    broker = await connect(server.url)
    largest = broker.traits.largest_message_bytes
    for channel in (work("large"), inbox("large")):
        subscription = await broker.subscribe(channel)
        await broker.publish(outgoing(channel, bytes(largest)))
        received = await take(subscription, 1, timeout=30)
        assert len(received[0].body) == largest
        await subscription.ack(received)
        with pytest.raises(PublishFailed) as failed:
            await broker.publish(outgoing(channel, b"before", bytes(largest + 1), b"after"))
        assert (failed.value.unsent, failed.value.unknown) == ((1,), ())
        received = await take(subscription, 2)
        await subscription.ack(received)
        assert bodies(received) == [b"before", b"after"]

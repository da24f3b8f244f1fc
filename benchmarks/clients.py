"""Compares our Redis and JetStream adapters with the APIs of their client libraries: CPU for each message of 300 bytes.

`python -m benchmarks.clients`: decisions 23 and 24. Sender and reader are one process, whose CPU is measured; the broker's is
not. The loop with the library is the shortest that its API allows, without what an adapter adds: channel names, limits, an
outcome for each message, keep-alives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median
from typing import Any, cast
from uuid import uuid4

import hiredis
import msgspec
import nats
import uvloop
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy
from redis.asyncio import Redis
from redis.asyncio.connection import Connection

from benchmarks.broker import own_broker
from fabric.addressing import Channel, inbox, work
from fabric.brokers import registry
from fabric.brokers.base import OutgoingMessage

BODY = b"x" * 300
TOGETHER, TAKEN = 64, 16
BURSTS, SINGLES, ROUNDS = 60, 600, 5
COMMAND = ("XADD", "mcpf.default.inbox.1a0a2244e9d60613", "NOMKSTREAM", "*", "b", BODY)


class Client(msgspec.Struct, frozen=True):
    """One way to use a broker."""

    publish: Callable[[int], Awaitable[None]]
    """Publishes this many messages, and returns when all are confirmed."""
    take: Callable[[int], Awaitable[int]]
    """Receives at most this many messages, acknowledges them, and returns their number."""


# ---------------------------------------------------------------- the clients
async def adapter(url: str, channel: Channel) -> AsyncIterator[Client]:
    """Our adapter, as fabric/runtime/bus.py uses it."""
    broker = await registry.connect(url, fabric=f"bench-{uuid4().hex[:8]}", incarnation=uuid4().hex)
    subscription = await broker.subscribe(channel)

    async def publish(count: int) -> None:
        await broker.publish([OutgoingMessage(channel, BODY)] * count)

    async def take(most: int) -> int:
        deliveries = await subscription.receive(most)
        await subscription.ack(deliveries)
        return len(deliveries)

    yield Client(publish, take)
    await broker.aclose()


async def redis_py(url: str) -> AsyncIterator[Client]:
    """redis-py: a pipeline to send, XREAD and XTRIM to read, as our inbox does."""
    client: Any = Redis.from_url(url)
    key, last = f"bench-{uuid4().hex[:8]}", b"0-0"
    await client.xdel(key, await client.xadd(key, {"b": b""}))

    async def publish(count: int) -> None:
        if count == 1:
            await client.xadd(key, {"b": BODY}, nomkstream=True)
            return
        pipeline = client.pipeline(transaction=False)
        for _ in range(count):
            pipeline.xadd(key, {"b": BODY}, nomkstream=True)
        await pipeline.execute()

    async def take(most: int) -> int:
        nonlocal last
        [(_, entries)] = await client.xread({key: last}, count=most, block=2000)
        last = entries[-1][0]
        await client.xtrim(key, minid=last.decode(), approximate=False)
        return len(entries)

    yield Client(publish, take)
    await client.delete(key)
    await client.aclose()


async def nats_py(url: str) -> AsyncIterator[Client]:
    """nats-py's JetStream: publish_async with all confirmations awaited together, a pull subscription to read."""
    connection = await nats.connect(url.partition("?")[0])
    stream = connection.jetstream(publish_async_max_pending=TOGETHER)
    name = f"bench-{uuid4().hex[:8]}"
    await stream.add_stream(name=name, subjects=[name], retention=RetentionPolicy.WORK_QUEUE)
    config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, mem_storage=True, max_ack_pending=-1)
    reader = await stream.pull_subscribe(name, durable="reader", config=config)

    async def publish(count: int) -> None:
        if count == 1:
            await stream.publish(name, BODY)
        else:
            await asyncio.gather(*[await stream.publish_async(name, BODY) for _ in range(count)])

    async def take(most: int) -> int:
        messages = await reader.fetch(most)
        for message in messages:
            await message.ack()
        return len(messages)

    yield Client(publish, take)
    await stream.delete_stream(name)
    await connection.close()


CLIENTS: dict[str, dict[str, Callable[[str], AsyncIterator[Client]]]] = {
    "redis": {"adapter": lambda url: adapter(url, inbox("bench")), "redis-py": redis_py},
    "jetstream": {"adapter": lambda url: adapter(url, work("bench")), "nats-py": nats_py},
}


# ---------------------------------------------------------------- measuring
async def take_all(client: Client, count: int, most: int) -> None:
    """Receive and acknowledge `count` messages, at most `most` at once."""
    async with asyncio.timeout(60):
        while count > 0:
            count -= await client.take(min(most, count))


async def measured(opened: AsyncIterator[Client]) -> list[float]:
    """Microseconds of CPU to publish a message of a burst, to take one, and for a single message; and its time to the ack."""
    async with asynccontextmanager(lambda: opened)() as client:
        await client.publish(TOGETHER)
        await take_all(client, TOGETHER, TAKEN)
        start = time.process_time()
        for _ in range(BURSTS):
            await client.publish(TOGETHER)
        published = time.process_time()
        await take_all(client, BURSTS * TOGETHER, TAKEN)
        took = time.process_time()
        elapsed = []
        for _ in range(SINGLES):
            began = time.perf_counter()
            await client.publish(1)
            await client.take(1)
            elapsed.append(time.perf_counter() - began)
        ended = time.process_time()
    burst = BURSTS * TOGETHER
    seconds = [(published - start) / burst, (took - published) / burst, (ended - took) / SINGLES, median(elapsed)]
    return [each * 1e6 for each in seconds]


def packing() -> None:
    """Print the CPU of each packer of Redis commands."""
    connection = cast("Any", Connection())
    packers: dict[str, Callable[[], object]] = {
        "redis-py's Connection.pack_command": lambda: connection.pack_command(*COMMAND),
        "RESP written in Python": lambda: resp(COMMAND),
        "hiredis.pack_command": lambda: hiredis.pack_command(COMMAND),  # type: ignore[arg-type]  # its stub allows one word only
    }
    print("| packing one XADD of 300 bytes | us |\n|---|---|")
    for name, pack in packers.items():
        times = []
        for _ in range(ROUNDS):
            start = time.process_time()
            for _ in range(20_000):
                pack()
            times.append(time.process_time() - start)
        print(f"| {name} | {min(times) / 20_000 * 1e6:.1f} |", flush=True)


def resp(command: tuple[bytes | str | int, ...]) -> bytes:
    """A command in RESP, by the shortest writer in Python."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))


def main() -> None:
    """Measure every broker; its clients take turns."""
    packing()
    print(f"\n| CPU us a message | publish, {TOGETHER} at once | take, {TAKEN} at once | both, one by one | from send to ack |")
    print("|---|---|---|---|---|")
    for kind, clients in CLIENTS.items():
        with own_broker(kind) as broker:
            rounds: dict[str, list[list[float]]] = {name: [] for name in clients}
            for _ in range(ROUNDS):
                for name, opened in clients.items():
                    rounds[name].append(uvloop.run(measured(opened(broker.url))))
            for name, figures in rounds.items():
                *cpu, elapsed = (min(column) for column in zip(*figures, strict=True))
                cells = " | ".join(f"{each:.0f}" for each in cpu)
                print(f"| {kind}: {name} | {cells} | {elapsed / 1000:.2f} ms |", flush=True)


if __name__ == "__main__":
    main()

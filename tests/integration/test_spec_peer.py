"""A peer written from docs/spec alone, with msgpack and a broker's client library, calls a tool at a real bridge."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiormq
import msgpack  # type: ignore[import-untyped]  # it has no types
import nats
import pytest
import redis.asyncio
from aiormq.abc import DeliveredMessage
from pamqp.common import FieldValue

from tests.brokers import FAMILIES, Server
from tests.fabrics import SECRET, bridge
from tests.integration.conftest import Write

ME = f"peer-{secrets.token_hex(4)}"
INBOX, WORK, TOPIC = f"mcpf.default.inbox.{ME}", "mcpf.default.work.echo", "mcpf.default.topic.announcements"
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}

Publish = Callable[[str, bytes], Awaitable[None]]
Receive = Callable[[], Awaitable[list[bytes]]]


@asynccontextmanager
async def over_nats(url: str) -> AsyncIterator[tuple[Publish, Receive]]:
    """channels.md, NATS."""
    client = await nats.connect(url.partition("?")[0], allow_reconnect=False)
    inbox = await client.subscribe(INBOX)

    async def receive() -> list[bytes]:
        try:
            return [(await inbox.next_msg(0.1)).data]
        except nats.errors.TimeoutError:
            return []

    await client.flush()
    try:
        yield client.publish, receive
    finally:
        await client.close()


@asynccontextmanager
async def over_redis(url: str) -> AsyncIterator[tuple[Publish, Receive]]:
    """channels.md, Redis Streams."""
    async with redis.asyncio.Redis.from_url(url, protocol=2) as client:
        last = b"0-0"
        await client.xadd(INBOX, {"b": b""}, id="0-1")
        await client.xdel(INBOX, "0-1")
        await client.expire(INBOX, 60)

        async def publish(channel: str, body: bytes) -> None:
            if ".topic." in channel:
                await client.publish(channel, body)
            else:
                await client.xadd(channel, {"b": body}, nomkstream=".inbox." in channel)

        async def receive() -> list[bytes]:
            nonlocal last
            streams: Any = await client.xread({INBOX: last}, block=100)
            entries = streams[0][1] if streams else []
            last = entries[-1][0] if entries else last
            return [fields[b"b"] for _, fields in entries]

        yield publish, receive


@asynccontextmanager
async def over_amqp(url: str) -> AsyncIterator[tuple[Publish, Receive]]:
    """channels.md, AMQP."""
    exchange, reader, came = "mcpf.default", f"mcpf.default.reader.{ME}", asyncio.Queue[bytes]()
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        await channel.exchange_declare(exchange, exchange_type="direct", durable=True, auto_delete=True)
        await channel.queue_declare(reader, exclusive=True)
        await channel.queue_bind(reader, exchange, reader)
        await channel.queue_bind(reader, exchange, INBOX)
        arguments: dict[str, FieldValue] = {"x-expires": 600000, "x-max-length": 10000, "x-overflow": "reject-publish"}
        await channel.queue_declare(WORK, durable=True, arguments=arguments)
        await channel.queue_bind(WORK, exchange, WORK)

        async def take(message: DeliveredMessage) -> None:
            came.put_nowait(message.body)

        await channel.basic_consume(reader, take, no_ack=True)

        async def publish(name: str, body: bytes) -> None:
            await channel.basic_publish(body, exchange=exchange, routing_key=name, mandatory=".work." in name)

        async def receive() -> list[bytes]:
            with suppress(TimeoutError):
                return [await asyncio.wait_for(came.get(), 0.1)]
            return []

        yield publish, receive


def pack(*envelopes: dict[str, Any], generation: int = 0, data: int = 0, control: int = 0, version: int = 1) -> bytes:
    """envelope.md: the bytes of a pack."""
    packed: bytes = msgpack.packb([version, ME, generation, data, control, list(envelopes)])
    return packed


def presence(*versions: int) -> list[bytes]:
    """lanes.md, Announcements: a hello and an announcement of this peer."""
    key = hashlib.blake2b(SECRET.encode(), digest_size=4, person=b"mcpf key id").hexdigest()
    announcement = msgpack.packb({"role": "edge", "number": 1, "key": key, "versions": versions or (1,), "host": "a peer"})
    return [pack({"kind": "hello"}), pack({"kind": "announce", "body": announcement})]


async def called(
    publish: Publish, receive: Receive, exchange: str, *, repeatable: bool, to: str = WORK, had: dict[int, int] | None = None
) -> tuple[dict[str, Any], list[str], str]:
    """lanes.md, Giving work away: call `add`; the answer, the kinds of message received, and the bridge that answered.

    had: the number of the last message received on each lane.
    """
    params = {"name": "add", "arguments": {"a": 40, "b": 2}, "_meta": META}
    frame = json.dumps({"jsonrpc": "2.0", "id": exchange, "method": "tools/call", "params": params}).encode()
    request = {"kind": "request", "exchange": exchange, "server": "echo", "body": frame, "repeatable": repeatable}
    attempt, owned, sent = 0, False, 0.0
    had = {1: 0, 2: 0} if had is None else had
    kinds = []
    async with asyncio.timeout(40):
        while True:
            if not owned and time.monotonic() - sent > 0.5:
                attempt, sent = attempt + 1, time.monotonic()
                await publish(to, pack({**request, "attempt": attempt}))
            for message in await receive():
                _, bridge, generation, _, _, envelopes = msgpack.unpackb(message)
                for envelope in envelopes:
                    assert envelope["number"] == had[envelope["lane"]] + 1, "the broker lost or duplicated a message"
                    had[envelope["lane"]] += 1
                    kinds.append(envelope["kind"])
                    back = {"generation": generation, "data": had[1], "control": had[2]}
                    if envelope["kind"] == "taken":
                        owned = True
                        grant = {"kind": "grant", "exchange": exchange, "attempt": envelope["attempt"], "lane": 2, "number": 1}
                        await publish(f"mcpf.default.inbox.{bridge}", pack(grant, **back))
                    elif envelope["kind"] == "answer":
                        await publish(f"mcpf.default.inbox.{bridge}", pack(**back))
                        return json.loads(envelope["body"]), kinds, bridge


@pytest.mark.requirement("K09")
@pytest.mark.parametrize("repeatable", [False, True], ids=["granted", "at once"])
@pytest.mark.parametrize(
    ("family", "over"),
    [("nats", over_nats), ("jetstream", over_nats), ("redis", over_redis), ("valkey", over_redis), ("amqp", over_amqp)],
)
async def test_a_peer_written_from_the_specification_calls_a_tool(
    tmp_path: Path, config: Write, family: str, over: Any, repeatable: bool
) -> None:
    broker = next(each for each in FAMILIES if each.name == family).make(tmp_path)
    broker.start()
    try:
        with bridge(config(), tmp_path, broker.url) as process:
            process.ready()
            async with over(broker.url) as (publish, receive):
                for message in presence():
                    await publish(TOPIC, message)
                had = {1: 0, 2: 0}
                answer, kinds, taker = await called(publish, receive, f"{ME}-1", repeatable=repeatable, had=had)
                straight = await called(publish, receive, f"{ME}-2", repeatable=True, to=f"mcpf.default.inbox.{taker}", had=had)
    finally:
        broker.release()
    for number, response in ((1, answer), (2, straight[0])):
        assert response["id"] == f"{ME}-{number}"
        assert response["result"]["content"] == [{"type": "text", "text": "42"}]
    assert [*dict.fromkeys(kinds)] == (["answer"] if repeatable else ["taken", "answer"])  # a slow bridge may take it twice


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Server]:
    server = next(each for each in FAMILIES if each.name == "nats").make(tmp_path).start()
    yield server
    server.kill()


@pytest.mark.requirement("K09")
async def test_a_peer_of_the_next_release_interoperates_and_its_newer_envelopes_are_dropped(
    tmp_path: Path, config: Write, broker: Server
) -> None:
    """The peer reads versions 1 and 2, and writes 1 while somebody reads only 1; what it writes in 2 is dropped."""
    with bridge(config(), tmp_path, broker.url) as process:
        process.ready()
        async with over_nats(broker.url) as (publish, receive):
            for _ in range(12):
                await publish(TOPIC, pack({"kind": "hello", "news": {}}, version=2))
            for message in presence(1, 2):
                await publish(TOPIC, message)
            answer, _, _ = await called(publish, receive, f"{ME}-1", repeatable=False)
        log = process.log.read_text()
    assert answer["result"]["content"] == [{"type": "text", "text": "42"}]
    warnings = [line for line in log.splitlines() if "envelope version 2" in line]
    assert len(warnings) == 2  # the first and the tenth
    assert all("upgrade the fabric one release at a time" in line for line in warnings)
    assert "10 by now" in warnings[-1]


@pytest.mark.requirement("K09")
async def test_a_worker_that_shares_no_envelope_version_with_its_peers_exits_with_the_reason(
    tmp_path: Path, config: Write, broker: Server
) -> None:
    async with over_nats(broker.url) as (publish, _):
        with bridge(config(), tmp_path, broker.url) as process:
            async with asyncio.timeout(40):
                while "mcp-fabric:" not in process.log.read_text():
                    await publish(TOPIC, presence(2)[1])
                    await asyncio.sleep(0.05)
            assert process.stop(0) == 2  # it ends by itself
            log = process.log.read_text()
    assert "edge a peer reads envelopes of version 2, this process writes 1; upgrade" in log

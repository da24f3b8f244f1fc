"""A peer written from docs/spec alone, with a broker's client, msgpack and nothing of ours, calls a tool at a real bridge."""

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
import msgpack  # type: ignore[import-untyped]  # it has none
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
            found: Any = await client.xread({INBOX: last}, block=100)
            entries = found[0][1] if found else []
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
    """lanes.md, Announcements: hello, and who we are."""
    key = hashlib.blake2b(SECRET.encode(), digest_size=4, person=b"mcpf key id").hexdigest()
    said = msgpack.packb({"role": "edge", "number": 1, "key": key, "versions": versions or (1,), "host": "a peer"})
    return [pack({"kind": "hello"}), pack({"kind": "announce", "body": said})]


async def called(
    publish: Publish, receive: Receive, exchange: str, *, repeatable: bool, to: str = WORK, had: dict[int, int] | None = None
) -> tuple[dict[str, Any], list[str], str]:
    """lanes.md, Giving work away: an answer, the kinds of message that came, and from whom. had: numbers of each lane."""
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
                for said in envelopes:
                    assert said["number"] == had[said["lane"]] + 1, "the broker lost or doubled something"
                    had[said["lane"]] += 1
                    kinds.append(said["kind"])
                    back = {"generation": generation, "data": had[1], "control": had[2]}
                    if said["kind"] == "taken":
                        owned = True
                        grant = {"kind": "grant", "exchange": exchange, "attempt": said["attempt"], "lane": 2, "number": 1}
                        await publish(f"mcpf.default.inbox.{bridge}", pack(grant, **back))
                    elif said["kind"] == "answer":
                        await publish(f"mcpf.default.inbox.{bridge}", pack(**back))
                        return json.loads(said["body"]), kinds, bridge


@pytest.mark.requirement("K09")
@pytest.mark.parametrize("repeatable", [False, True], ids=["granted", "at once"])
@pytest.mark.parametrize(
    ("family", "over"),
    [("nats", over_nats), ("jetstream", over_nats), ("redis", over_redis), ("valkey", over_redis), ("amqp", over_amqp)],
)
async def test_a_peer_written_from_the_pages_calls_a_tool(
    tmp_path: Path, config: Write, family: str, over: Any, repeatable: bool
) -> None:
    broker = next(one for one in FAMILIES if one.name == family).make(tmp_path)
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
    for number, told in ((1, answer), (2, straight[0])):
        assert told["id"] == f"{ME}-{number}"
        assert told["result"]["content"] == [{"type": "text", "text": "42"}]
    assert [*dict.fromkeys(kinds)] == (["answer"] if repeatable else ["taken", "answer"])  # a slow bridge takes it twice


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Server]:
    server = next(one for one in FAMILIES if one.name == "nats").make(tmp_path).start()
    yield server
    server.kill()


@pytest.mark.requirement("K09")
async def test_a_peer_of_the_next_release_works_with_this_one_and_what_it_must_not_say_is_refused(
    tmp_path: Path, config: Write, broker: Server
) -> None:
    """It reads versions 1 and 2. While somebody reads only 1 it has to write that; what it writes in 2 is dropped."""
    with bridge(config(), tmp_path, broker.url) as process:
        process.ready()
        async with over_nats(broker.url) as (publish, receive):
            for _ in range(12):
                await publish(TOPIC, pack({"kind": "hello", "news": {}}, version=2))
            for message in presence(1, 2):
                await publish(TOPIC, message)
            answer, _, _ = await called(publish, receive, f"{ME}-1", repeatable=False)
        said = process.log.read_text()
    assert answer["result"]["content"] == [{"type": "text", "text": "42"}]
    told = [line for line in said.splitlines() if "envelope version 2" in line]
    assert len(told) == 2  # the first and the tenth
    assert all("upgrade the fabric one release at a time" in line for line in told)
    assert "10 by now" in told[-1]


@pytest.mark.requirement("K09")
async def test_who_comes_to_a_fabric_whose_versions_it_does_not_write_stops_and_says_why(
    tmp_path: Path, config: Write, broker: Server
) -> None:
    async with over_nats(broker.url) as (publish, _):
        with bridge(config(), tmp_path, broker.url) as process:
            async with asyncio.timeout(40):
                while "mcp-fabric:" not in process.log.read_text():
                    await publish(TOPIC, presence(2)[1])
                    await asyncio.sleep(0.05)
            assert process.stop(0) == 2  # it ends by itself
            said = process.log.read_text()
    assert "edge a peer reads envelopes of version 2, this process writes 1; upgrade" in said

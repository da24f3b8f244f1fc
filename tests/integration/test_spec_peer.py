"""A peer written from docs/spec alone, with a broker's client, msgpack and nothing of ours, calls a tool at a real bridge."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it has none
import nats
import pytest
import redis.asyncio

from tests.brokers import FAMILIES
from tests.brokers import SECRET as PASSWORD
from tests.fabrics import SECRET, bridge
from tests.integration.conftest import Write

ME = f"peer-{secrets.token_hex(4)}"
INBOX, WORK, TOPIC = f"mcpf.default.inbox.{ME}", "mcpf.default.work.echo", "mcpf.default.topic.announcements"
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}

Publish = Callable[[str, bytes], Awaitable[None]]
Receive = Callable[[], Awaitable[list[bytes]]]


@asynccontextmanager
async def over_nats(port: int) -> AsyncIterator[tuple[Publish, Receive]]:
    """channels.md, NATS."""
    client = await nats.connect(f"nats://127.0.0.1:{port}", token=PASSWORD, allow_reconnect=False)
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
async def over_redis(port: int) -> AsyncIterator[tuple[Publish, Receive]]:
    """channels.md, Redis Streams."""
    async with redis.asyncio.Redis(port=port, password=PASSWORD, protocol=2) as client:
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


def pack(*envelopes: dict[str, Any], generation: int = 0, data: int = 0, control: int = 0) -> bytes:
    """envelope.md: the bytes of a pack."""
    packed: bytes = msgpack.packb([1, ME, generation, data, control, list(envelopes)])
    return packed


def presence() -> list[bytes]:
    """lanes.md, Announcements: hello, and who we are."""
    key = hashlib.blake2b(SECRET.encode(), digest_size=4, person=b"mcpf key id").hexdigest()
    said = msgpack.packb({"role": "edge", "number": 1, "key": key, "versions": [1], "host": "a peer"})
    return [pack({"kind": "hello"}), pack({"kind": "announce", "body": said})]


async def called(publish: Publish, receive: Receive, exchange: str, *, repeatable: bool) -> tuple[dict[str, Any], list[str]]:
    """lanes.md, Giving work away: an answer, and the kinds of message that came."""
    params = {"name": "add", "arguments": {"a": 40, "b": 2}, "_meta": META}
    frame = json.dumps({"jsonrpc": "2.0", "id": exchange, "method": "tools/call", "params": params}).encode()
    request = {"kind": "request", "exchange": exchange, "server": "echo", "body": frame, "repeatable": repeatable}
    attempt, owned, sent = 0, False, 0.0
    had = {1: 0, 2: 0}
    kinds = []
    async with asyncio.timeout(20):
        while True:
            if not owned and time.monotonic() - sent > 0.5:
                attempt, sent = attempt + 1, time.monotonic()
                await publish(WORK, pack({**request, "attempt": attempt}))
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
                        return json.loads(said["body"]), kinds


@pytest.mark.parametrize("repeatable", [False, True], ids=["granted", "at once"])
@pytest.mark.parametrize(("family", "over"), [("nats", over_nats), ("redis", over_redis), ("valkey", over_redis)])
async def test_a_peer_written_from_the_pages_calls_a_tool(
    tmp_path: Path, config: Write, family: str, over: Any, repeatable: bool
) -> None:
    broker = next(one for one in FAMILIES if one.name == family).make(tmp_path)
    broker.start()
    try:
        with bridge(config(), tmp_path, broker.url) as process:
            process.ready()
            async with over(broker.port) as (publish, receive):
                for message in presence():
                    await publish(TOPIC, message)
                answer, kinds = await called(publish, receive, f"{ME}-1", repeatable=repeatable)
    finally:
        broker.kill()
    assert answer["id"] == f"{ME}-1"
    assert answer["result"]["content"] == [{"type": "text", "text": "42"}]
    assert kinds == (["answer"] if repeatable else ["taken", "answer"])

"""The NATS adapter with JetStream beyond the contract: a missing stream, a missing consumer, no JetStream at all."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import nats
import pytest

from fabric.addressing import work
from fabric.brokers.nats.work_reader import PULL
from fabric.errors import BrokerProtocolError, BrokerReset, PublishFailed
from tests import brokers
from tests.brokers import FAMILIES, SECRET, Family, Server
from tests.contract.brokers.conftest import Connect
from tests.contract.brokers.steps import bodies, numbered, outgoing, take
from tests.contract.brokers.test_errors import assert_clear
from tests.waiting import until

pytestmark = [
    pytest.mark.requirement("K03"),
    pytest.mark.timeout(240),
    pytest.mark.parametrize("family", [family for family in FAMILIES if family.name == "jetstream"], ids=str),
]

Api = Callable[..., Awaitable[Any]]


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    """JetStream's own API, as an operator's tools use it."""
    client = await nats.connect(f"nats://127.0.0.1:{server.port}", token=SECRET)

    async def ask(what: str, **request: object) -> Any:
        answer = json.loads((await client.request(f"$JS.API.{what}", json.dumps(request).encode(), timeout=20)).data)
        assert "error" not in answer, answer
        return answer

    yield ask
    await client.close()


async def test_a_server_without_jetstream_is_refused_with_the_remedy(tmp_path: Path, connect: Connect, family: Family) -> None:
    plain = brokers.nats(tmp_path).start()
    try:
        with pytest.raises(BrokerProtocolError, match="work=jetstream") as refused:
            await connect(f"{plain.url}?work=jetstream")
        assert_clear(refused.value, plain.port)
    finally:
        plain.kill()


async def test_a_stream_made_by_an_operator_keeps_its_settings(server: Server, connect: Connect, fabric: str, api: Api) -> None:
    name, subjects = f"mcpf_{fabric}_work", [f"mcpf.{fabric}.work.*"]
    await api(f"STREAM.CREATE.{name}", name=name, subjects=subjects, retention="workqueue", storage="memory", max_age=10**12)
    broker = await connect(server.url)
    reader = await broker.subscribe(work("w"))
    await broker.publish(outgoing(work("w"), b"kept"))
    await reader.ack(await take(reader, 1))
    assert (await api(f"STREAM.INFO.{name}"))["config"]["storage"] == "memory"


async def test_deleting_the_stream_ends_the_connection_and_a_new_connection_recreates_it(
    server: Server, connect: Connect, fabric: str, api: Api
) -> None:
    broker = await connect(server.url)
    await api(f"STREAM.DELETE.mcpf_{fabric}_work")
    with pytest.raises(PublishFailed) as failed:
        await broker.publish(outgoing(work("w"), b"x", b"y"))
    assert (failed.value.unsent, failed.value.unknown) == ((0, 1), ())
    async with asyncio.timeout(20):
        assert "gone" in await broker.lost()
    await (await connect(server.url)).publish(outgoing(work("w"), b"x"))
    assert (await api(f"STREAM.INFO.mcpf_{fabric}_work"))["state"]["messages"] == 1


async def test_a_deleted_consumer_is_recreated(server: Server, connect: Connect, fabric: str, api: Api) -> None:
    broker = await connect(server.url)
    reader = await broker.subscribe(work("w"))
    reading = asyncio.ensure_future(reader.receive(1))
    await asyncio.sleep(0)
    await api(f"CONSUMER.DELETE.mcpf_{fabric}_work.w")
    await broker.publish(outgoing(work("w"), b"for it"))
    async with asyncio.timeout(3 * PULL):  # the pull request may have reached the deleted consumer, which sends no error
        received = await reading
    await reader.ack(received)
    assert bodies(received) == [b"for it"]


async def test_work_beyond_a_readers_limit_goes_to_other_readers(server: Server, connect: Connect) -> None:
    full, idle = [await (await connect(server.url)).subscribe(work("w")) for _ in range(2)]
    sender = await connect(server.url)
    await sender.publish(outgoing(work("w"), b"1"))
    held = list(await full.receive(8))  # seven more may come by the same request
    await sender.publish(outgoing(work("w"), *numbered(7)))
    others = await take(idle, 7)
    assert sorted(bodies(others)) == sorted(numbered(7))
    await idle.ack(others)
    await full.ack(held)


async def test_acknowledged_work_is_removed_from_the_stream(server: Server, connect: Connect, fabric: str, api: Api) -> None:
    broker = await connect(server.url)
    reader = await broker.subscribe(work("w"))
    await broker.publish(outgoing(work("w"), *numbered(10)))
    await reader.ack(await take(reader, 10))

    async def is_empty() -> bool:
        state = (await api(f"STREAM.INFO.mcpf_{fabric}_work"))["state"]
        return bool(state["messages"] == 0)

    await until(is_empty)  # an ack has no answer


async def test_a_lost_connection_fails_publishes_as_unknown(own_server: Server, connect: Connect) -> None:
    async with brokers.Proxy(own_server.port) as proxy:
        broker = await connect(own_server.url.replace(str(own_server.port), str(proxy.port)))
        reader = await broker.subscribe(work("w"))
        own_server.signal(signal.SIGSTOP)  # what is sent now is not confirmed
        try:
            before, body = proxy.carried, bytes(100_000)
            publishing = asyncio.ensure_future(broker.publish(outgoing(work("w"), body, body)))
            await until(lambda: proxy.carried >= before + 2 * len(body))
            proxy.cut()
            with pytest.raises(PublishFailed) as failed:
                await publishing
        finally:
            own_server.signal(signal.SIGCONT)
        assert (failed.value.unsent, failed.value.unknown) == ((), (0, 1))
        with pytest.raises(BrokerReset):
            await reader.receive(1)

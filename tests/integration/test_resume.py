"""Legacy HTTP clients resume broken streams at any edge, with real processes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client as SdkClient

from tests import brokers
from tests.brokers import missing
from tests.contract.http_client import BOTH, Client, request
from tests.fabrics import ROOT, Process, bridge, edge
from tests.integration.conftest import ECHO
from tests.integration.mcp_over_http import Session, connections, messages, reason, text
from tests.integration.test_clients import OLD_SDK
from tests.integration.test_cluster import MIRROR, write
from tests.tcp_server import tcp_server

OLD_CLIENT = """
import anyio, sys
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

async def main(address):
    async def on_progress(value, total, message):
        print("progress", value, flush=True)

    async with streamable_http_client(address) as streams, ClientSession(*streams[:2]) as session:
        await session.initialize()
        result = await session.call_tool("slow", {"seconds": 2}, progress_callback=on_progress)
        print(result.content[0].text, flush=True)

anyio.run(main, sys.argv[1])
"""
SLOW = {"name": "slow", "_meta": {"progressToken": "t"}}

pytestmark = [
    pytest.mark.requirement("L08", "D01"),
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),  # the legacy era is tested too
]


class Site:
    """A broker, a bridge, and an edge that stays; `doomed` starts one more edge, which a test kills."""

    def __init__(self, stack: ExitStack, state: Path) -> None:
        self._state = state
        self._stack = stack
        self._config = write(state / "mcp.json", {"echo": ECHO, "mirror": MIRROR})
        broker = next(family for family in brokers.FAMILIES if family.name == "nats").make(state).start()
        stack.callback(broker.kill)
        self._broker = broker.url
        bridge_process = stack.enter_context(bridge(self._config, state, broker.url))
        self.stays = self._edge().url()
        bridge_process.ready()

    def doomed(self) -> Process:
        worker = self._edge()
        worker.ready()
        return worker

    def _edge(self) -> Process:
        return self._stack.enter_context(edge(self._config, self._state, self._broker))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(stack, tmp_path_factory.mktemp("resume"))


def stream_events(stream: bytes) -> list[tuple[str, Any]]:
    """The events of a stream: the id, and the message or None for an event without data."""
    events = re.findall(rb"id: (\S+)\n(?:retry: \d+\n)?data:(.*)\n\n", stream)
    return [(id.decode(), json.loads(data) if data.strip() else None) for id, data in events]


async def read_until(client: Client, wanted: bytes) -> bytes:
    """Read an open stream up to this text."""
    stream = b""
    while wanted not in stream:
        piece = await client.chunk()
        assert piece, stream
        stream += piece
    return stream


async def resumed(client: Client, session: Session, event: str) -> list[tuple[str, Any]]:
    """Resume a stream after this event, and read it to its end; its events."""
    lines = session.headers | {"Accept": "text/event-stream", "Last-Event-ID": event}
    reply = await client.ask("GET", session.path, lines)
    assert reply.status == 200, reply
    return stream_events(reply.body)


# ---------------------------------------------------------------- raw clients
async def test_a_call_whose_edge_is_killed_is_resumed_at_another_edge(site: Site) -> None:
    doomed = site.doomed()
    async with connections([doomed.url(), site.stays]) as (first, second):
        session = await Session.open(first)
        session.post(request("tools/call", "mine", **SLOW, arguments={"seconds": 2}))
        await first.head()
        before = stream_events(await read_until(first, b'"progress":3'))
        doomed.stop(signal.SIGKILL)
        after = await resumed(second, session.at(second), before[-1][0])
    stream, numbers = zip(
        *((event.rpartition(".")[0], int(event.rpartition(".")[2])) for event, _ in before + after), strict=True
    )
    assert len(set(stream)) == 1
    assert list(numbers) == sorted(set(numbers))
    steps = [message["params"] for _, message in (before + after)[1:-1]]
    assert steps == [{"progressToken": "t", "progress": number, "total": 10} for number in range(1, 11)]
    assert (after[-1][1]["id"], text(after[-1][1])) == ("mine", "waited 2 s")


async def test_a_missed_answer_is_resent_only_to_its_own_session(site: Site) -> None:
    async with connections([site.stays] * 3) as (first, second, third):
        session = await Session.open(first)
        session.post(request("tools/call", 7, **SLOW, arguments={"seconds": 1}))
        await first.head()
        (primed, nothing), (event, _), *_ = stream_events(await read_until(first, b'"progress":1,'))
        assert nothing is None
        first.writer.close()
        session = session.at(second)
        after = await resumed(second, session, event)
        assert text(after[-1][1]) == "waited 1 s"
        assert [event for event, _ in await resumed(second, session, primed)] == [event, *(event for event, _ in after)]
        assert await resumed(second, session, after[-1][0]) == []
        other = await Session.open(third)
        for event in (primed, "made-up.1", "nonsense"):
            refused = await third.ask("GET", "/mcp", other.headers | {"Last-Event-ID": event})
            assert (refused.status, reason(refused.json)) == (400, "invalid")
        assert (await second.ask("DELETE", "/mcp", session.headers)).status == 200
        assert (await second.ask("GET", "/mcp", session.headers | {"Last-Event-ID": primed})).status == 404


@pytest.mark.parametrize(("version", "primes"), [("2025-11-25", True), ("2025-06-18", False), ("2025-03-26", False)])
async def test_a_slow_call_begins_with_an_empty_event_where_the_revision_knows_one(
    site: Site, version: str, primes: bool
) -> None:
    async with connections([site.stays] * 2) as (client, reader):
        opening = {"protocolVersion": version, "clientInfo": {"name": "raw", "version": "1"}, "capabilities": {}}
        reply = await client.ask("POST", "/mcp", BOTH, request("initialize", 1, **opening))
        assert messages(reply)[-1]["result"]["protocolVersion"] == version
        lines = BOTH | {"Mcp-Session-Id": reply.headers["mcp-session-id"], "MCP-Protocol-Version": version}
        reader.send("GET", "/mcp", lines)
        assert (await reader.head()).status == 200
        opened = await reader.chunk()
        assert bool(re.fullmatch(rb"id: \S+\.0\nretry: 1000\ndata:\n\n", opened)) is primes
        assert primes or opened == b":\n\n"
        slow = request("tools/call", 2, name="slow", arguments={"seconds": 3})
        answer = await client.ask("POST", "/mcp", lines, slow)
        assert answer.headers["content-type"] == ("text/event-stream" if primes else "application/json")
        assert text(messages(answer)[-1]) == "waited 3 s"
        assert (b"\ndata:\n" in answer.body) is primes


# ---------------------------------------------------------------- SDK clients
@asynccontextmanager
async def switch(addresses: list[str]) -> AsyncIterator[str]:
    """A TCP relay to the first of the addresses that accepts connections, as a load balancer does."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for address in addresses:
            with suppress(OSError):
                host, port = address.removeprefix("http://").split(":")
                from_edge, to_edge = await asyncio.open_connection(host, int(port))
                try:
                    await asyncio.gather(relay(reader, to_edge), relay(from_edge, writer))
                finally:
                    to_edge.transport.abort()
                    await to_edge.wait_closed()
                return

    async with tcp_server(connected) as port:
        yield f"http://127.0.0.1:{port}"


async def test_the_current_sdk_gets_its_answer_although_its_edge_is_killed(site: Site) -> None:
    doomed = site.doomed()
    seen: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)
        if progress == 3:
            doomed.send_signal(signal.SIGKILL)

    async with (
        switch([doomed.url(), site.stays]) as address,
        SdkClient(f"{address}/mcp", mode="legacy", read_timeout_seconds=30) as client,
    ):
        began = time.monotonic()
        block = (await client.call_tool("slow", {"seconds": 2}, progress_callback=on_progress)).content[0]
        assert isinstance(block, types.TextContent)
        assert block.text == "waited 2 s"
        assert time.monotonic() - began < 20
        assert seen == list(range(1, 11))


async def test_the_previous_sdk_gets_its_answer_although_its_edge_is_killed(site: Site) -> None:
    if not OLD_SDK.exists():
        missing("the previous MCP SDK")
    doomed = site.doomed()
    async with switch([doomed.url(), site.stays]) as address, asyncio.timeout(30):
        command = (str(OLD_SDK), "-c", OLD_CLIENT, f"{address}/mcp")
        child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
        assert child.stdout is not None
        printed = []
        async for line in child.stdout:
            printed.append(line.decode().strip())
            if printed[-1] == "progress 3.0":
                doomed.send_signal(signal.SIGKILL)
        assert await child.wait() == 0
    assert printed == [*(f"progress {number:.1f}" for number in range(1, 11)), "waited 2 s"]

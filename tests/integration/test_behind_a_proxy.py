"""Two edges behind a real nginx, configured as the how-to shows: TLS, a path prefix, balancing, and unbuffered streams."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
import pytest
from mcp import Client as SdkClient
from mcp.client.streamable_http import streamable_http_client
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from tests import brokers
from tests.contract.http_client import Client, modern
from tests.contract.test_websocket import UPGRADE
from tests.fabrics import ROOT, bridge, edge, run
from tests.fabrics import SECRET as FABRIC_SECRET
from tests.integration.conftest import ECHO
from tests.integration.mcp_over_http import REVISIONS, Session, call, call_request, event, last_response, messages, text
from tests.integration.nginx import NAME, SILENCE, nginx
from tests.integration.otlp import Receiver, Span, receiving
from tests.integration.test_cluster import MIRROR
from tests.integration.test_tracing import QUICK, client_context

pytestmark = [pytest.mark.requirement("S11"), pytest.mark.timeout(240)]

PUBLIC = f"https://{NAME}/tools"
CONFORMANCE = {"command": sys.executable, "args": [str(ROOT / "examples" / "servers" / "conformance.py")]}
QUIET = 0.5
"""Seconds between two comments of a stream."""


class ProxiedClient(Client):
    """A connection through nginx, with the public name as its Host."""

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> None:
        super().send(method, path, {"Host": NAME} | headers, body)


@dataclass
class Front:
    """A running nginx, and the fabric behind it."""

    port: int
    """The port of nginx."""
    context: ssl.SSLContext
    """The SSL context of a client that trusts nginx."""
    edges: list[str]
    """The addresses of the edges."""
    receiver: Receiver
    listed: Any
    """The output of `ls --json`."""

    @asynccontextmanager
    async def client(self, own: str = "127.0.0.1") -> AsyncIterator[Client]:
        """A connection through nginx, from the local address `own`."""
        opening = asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.context, server_hostname=NAME, local_addr=(own, 0), limit=2**24
        )
        reader, writer = await asyncio.wait_for(opening, 30)
        try:
            yield ProxiedClient(reader, writer, self.port)
        finally:
            writer.close()
            with suppress(OSError):
                await asyncio.wait_for(writer.wait_closed(), 30)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    state = tmp_path_factory.mktemp("proxied")
    servers = {"echo": ECHO, "mirror": MIRROR, "conformance": CONFORMANCE}
    config = state / "mcp.json"
    config.write_text(json.dumps({"mcpServers": servers, "defaultServer": "echo"}))
    with ExitStack() as stack:
        broker = brokers.nats(state).start()
        stack.callback(broker.kill)
        receiver = stack.enter_context(receiving())
        environment = {
            "FABRIC_TRUSTED_PROXIES": "127.0.0.1",
            "FABRIC_PATH_PREFIX": "/tools",
            "FABRIC_PUBLIC_URL": PUBLIC,
            "FABRIC_KEEP_ALIVE": str(QUIET),
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            **QUICK,
        }
        workers = [stack.enter_context(bridge(config, state, broker.url))]
        workers += [stack.enter_context(edge(config, state, broker.url, **environment)) for _ in range(2)]
        lines = [worker.ready() for worker in workers]
        assert all(f"edge {PUBLIC}, by http://127.0.0.1:" in line for line in lines[1:]), lines
        edges = [worker.url() for worker in workers[1:]]
        port, context = stack.enter_context(nginx(state, [int(address.rsplit(":", 1)[1]) for address in edges]))
        listed = json.loads(run("ls", "--json", "--broker", broker.url, state=state, FABRIC_SECRET=FABRIC_SECRET).stdout)
        yield Front(port, context, edges, receiver, listed)


def test_an_edge_announces_its_public_url(front: Front) -> None:
    assert [worker["address"] for worker in front.listed["workers"] if worker["role"] == "edge"] == [PUBLIC, PUBLIC]


async def test_sdk_clients_of_both_eras_work_over_tls_below_the_prefix(front: Front) -> None:
    modes: tuple[Literal["legacy", "auto"], ...] = ("legacy", "auto")
    for mode in modes:
        async with httpx2.AsyncClient(verify=front.context) as web:
            transport = streamable_http_client(f"https://localhost:{front.port}/tools/conformance/mcp", http_client=web)
            async with SdkClient(transport, mode=mode, read_timeout_seconds=30) as client:
                result = await client.call_tool("test_simple_text", {})
                assert "simple text" in str(result.content)


async def test_requests_alternate_between_the_edges_and_each_records_the_clients_address(front: Front) -> None:
    edges = set()
    async with front.client("127.0.0.9") as one, front.client("127.0.0.10") as two:
        for client, address in ((one, "127.0.0.9"), (two, "127.0.0.10")) * 2:
            span = await traced(front, client)
            assert caller(span) == [address, "https", NAME]
            edges.add(span.instance)
    assert len(edges) == 2


async def test_forged_forwarding_headers_are_ignored(front: Front) -> None:
    async with front.client("127.0.0.9") as client:
        for name, forged in (
            ("X-Forwarded-For", "6.6.6.6"),
            ("Forwarded", "for=6.6.6.6;host=evil"),
            ("X-Forwarded-Host", "evil"),
        ):
            span = await traced(front, client, **{name: forged})
            assert caller(span) == ["127.0.0.9", "https", NAME]
        lines, body = modern("tools/list")
        assert (await client.ask("POST", "/tools/mcp", lines | {"Host": "evil.example"}, body)).status == 421


async def test_progress_arrives_while_the_call_runs(front: Front) -> None:
    async with front.client() as client:
        lines, body = modern("tools/call", name="slow", arguments={"seconds": 3.0}, _meta={"progressToken": "t"})
        client.send("POST", "/tools/mcp", lines, body)
        assert (await client.head()).headers["content-type"] == "text/event-stream"
        assert (await event(client))["params"]["progress"] == 1
        first = time.monotonic()
        assert text(await last_response(client)) == "waited 3 s"
        assert time.monotonic() - first >= 0.7


async def test_a_call_longer_than_the_proxys_timeout_is_answered_in_every_revision(front: Front) -> None:
    seconds = 2.5 * SILENCE

    async def answer(version: str) -> Any:
        async with front.client() as client:
            asked = await call_request(client, "/tools/mcp", version, name="slow", arguments={"seconds": seconds})
            return messages(await client.ask("POST", "/tools/mcp", *asked))[-1]

    answers = await asyncio.gather(*map(answer, REVISIONS))
    assert [text(each) for each in answers] == [f"waited {seconds:g} s"] * len(REVISIONS)


async def test_a_session_and_its_stream_work_across_both_edges(front: Front) -> None:
    async with front.client() as client, front.client() as other:
        session = await Session.open(client, "/tools/mirror/mcp")
        other.send("GET", "/tools/mirror/mcp", session.headers | {"Accept": "text/event-stream"})
        assert (await other.head()).status == 200
        for number in range(10):  # every second one reaches the edge without the stream
            await session.call("notify", n=number)
        assert [(await event(other))["params"]["n"] for _ in range(10)] == list(range(10))
        assert await comment(other)
        answer = await session.call("progress", steps=3)
        assert "result" in answer
        assert (await client.ask("DELETE", "/tools/mirror/mcp", session.headers)).status == 200


async def test_a_subscription_is_kept_open_by_comments_and_receives_changes(front: Front) -> None:
    async with front.client() as client, front.client() as other:
        lines, body = modern("subscriptions/listen", "sub", notifications={"toolsListChanged": True})
        client.send("POST", "/tools/conformance/mcp", lines, body)
        assert (await client.head()).headers["content-type"] == "text/event-stream"
        assert (await event(client))["method"] == "notifications/subscriptions/acknowledged"
        began = time.monotonic()
        for _ in range(3):
            assert await comment(client)
        assert time.monotonic() - began < 30 * QUIET
        await call(other, "test_trigger_tool_change", path="/tools/conformance/mcp")
        assert (await event(client))["method"] == "notifications/tools/list_changed"


async def test_a_websocket_works_and_is_kept_open_by_pings(front: Front) -> None:
    traceparent, trace, _ = client_context()
    options: dict[str, Any] = {"host": "127.0.0.1", "port": front.port, "local_addr": ("127.0.0.9", 0), "ssl": front.context}
    async with connect(f"wss://{NAME}/tools/ws", subprotocols=[Subprotocol("mcp")], ping_interval=None, **options) as socket:
        meta = {"progressToken": "t", "traceparent": traceparent}
        _, body = modern("tools/call", name="slow", arguments={"seconds": 3.0}, _meta=meta)
        await socket.send(body.decode())
        assert json.loads(await asyncio.wait_for(socket.recv(), 30))["method"] == "notifications/progress"
        first = time.monotonic()
        while "result" not in json.loads(await asyncio.wait_for(socket.recv(), 30)):
            pass
        assert time.monotonic() - first >= 0.7
    spans = await asyncio.to_thread(front.receiver.trace, trace, lambda spans: any(span.kind == "SERVER" for span in spans))
    [span] = [span for span in spans if span.kind == "SERVER"]
    assert caller(span) == ["127.0.0.9", "https", NAME]
    async with front.client() as client:
        client.send("GET", "/tools/ws", UPGRADE | {"Sec-WebSocket-Protocol": "mcp"})
        assert (await client.head()).status == 101
        assert await asyncio.wait_for(client.reader.readexactly(2), 30) == b"\x89\x00"  # a ping


def caller(span: Span) -> list[str]:
    """The client's address, scheme and host that the edge recorded."""
    return [span.attributes[name] for name in ("client.address", "url.scheme", "server.address")]


async def comment(client: Client) -> bool:
    """Whether the next chunk of a stream consists of comments."""
    return {*(await client.chunk()).split(b"\n\n")} == {b":", b""}


async def traced(front: Front, client: Client, **headers: str) -> Span:
    """Make a call; the span that an edge makes of it."""
    traceparent, trace, _ = client_context()
    lines, body = modern("tools/call", name="echo", arguments={"text": "x"}, _meta={"traceparent": traceparent})
    assert (await client.ask("POST", "/tools/mcp", lines | headers, body)).status == 200
    spans = await asyncio.to_thread(front.receiver.trace, trace, lambda spans: any(span.kind == "SERVER" for span in spans))
    return next(span for span in spans if span.kind == "SERVER")

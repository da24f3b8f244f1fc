"""Tracing, end to end: a real OTLP receiver, real brokers and processes, and an MCP server whose SDK traces it."""

from __future__ import annotations

import http.client
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from tests import brokers
from tests.fabrics import EXAMPLES, PROGRAM, cluster, up
from tests.integration.otlp import Receiver, Span, receiving
from tests.ports import free_port

SERVER = Path(__file__).with_name("traced_server.py")
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
"""Milliseconds between two exports, so that a test waits little."""

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


def configured(state: Path, receiver: Receiver, name: str = "traced") -> Path:
    """A config with one server, which traces itself and takes every incoming trace as sampled."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
    server = {"command": sys.executable, "args": [str(SERVER)], "env": environment, "retryCalls": True}
    path = state / f"{name}.json"
    path.write_text(json.dumps({"defaultServer": name, "mcpServers": {name: server}}))
    return path


@pytest.fixture(scope="module", params=["memory", "nats", "redis", "amqp"])
def served(request: pytest.FixtureRequest, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a fabric that traces, on each broker."""
    state = tmp_path_factory.mktemp(request.param)
    family = next(family for family in brokers.FAMILIES if family.name == request.param)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **QUICK}
    with ExitStack() as stack:
        broker = family.make(state).start()
        stack.callback(broker.release)
        config = configured(state, receiver)
        if family.separate:
            yield stack.enter_context(cluster(config, state, broker.url, environment))
        else:
            fabric = stack.enter_context(
                up(config, state, "--broker", broker.url, FABRIC_SECRET=secrets.token_urlsafe(32), **environment)
            )
            yield fabric.url()


def post(url: str, tool: str, arguments: Mapping[str, Any] = {}, meta: Mapping[str, Any] = {}, **headers: str) -> Any:
    """Call a tool as a modern client does; its response."""
    fields = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}, **meta}
    params = {"name": tool, "arguments": arguments, "_meta": fields}
    body = json.dumps({"jsonrpc": "2.0", "id": "the-id", "method": "tools/call", "params": params})
    lines = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
        **headers,
    }
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    try:
        connection.request("POST", "/mcp", body, lines)
        answer = connection.getresponse()
        return json.loads(answer.read())
    finally:
        connection.close()


def text(answer: Any) -> str:
    return str(answer["result"]["content"][0]["text"])


def client_context(flags: str = "01") -> tuple[str, str, str]:
    """A client's traceparent, its trace id and its span id."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return f"00-{trace}-{span}-{flags}", trace, span


def one(spans: list[Span], kind: str, service: str) -> Span:
    matching = [span for span in spans if span.kind == kind and span.service == service]
    assert len(matching) == 1, (kind, service, spans)
    return matching[0]


def whole(spans: list[Span]) -> bool:
    """Whether every span of one call has been received: two of the edge, three of the bridge, one of the server."""
    return len(spans) >= 6


def test_one_call_is_one_trace_from_the_client_to_the_server_and_back(served: str, receiver: Receiver) -> None:
    traceparent, trace, client = client_context()
    forwarded = text(post(served, "traceparent", meta={"traceparent": traceparent}))
    spans = receiver.trace(trace, whole)
    assert len(spans) == 6
    edge, sending = one(spans, "SERVER", "mcp-fabric-edge"), one(spans, "PRODUCER", "mcp-fabric-edge")
    wait, bridge = [span for span in spans if span.kind == "CONSUMER"]
    call, server = one(spans, "CLIENT", "mcp-fabric-bridge"), one(spans, "SERVER", "traced-server")
    assert [edge.parent, sending.parent, wait.parent, bridge.parent, call.parent, server.parent] == [
        client, edge.id, sending.id, wait.id, bridge.id, call.id,
    ]  # fmt: skip
    assert forwarded == f"00-{trace}-{call.id}-01"
    assert [edge.name, sending.name, wait.name, bridge.name, call.name] == [
        "tools/call traceparent", "send work/traced", "receive work/traced", "process work/traced", "tools/call traceparent",
    ]  # fmt: skip
    assert edge.start <= sending.start <= call.start <= call.end <= bridge.end
    assert not any(span.failed for span in spans)
    expected = {
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": "2026-07-28",
        "jsonrpc.request.id": "the-id",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "traceparent",
        "network.transport": "tcp",
        "network.protocol.name": "http",
    }
    assert expected.items() <= edge.attributes.items()
    assert call.attributes["network.transport"] == "pipe"
    assert sending.attributes["messaging.operation.type"] == "send"
    assert wait.attributes["messaging.system"] in ("memory", "nats", "redis", "rabbitmq")
    assert edge.instance
    assert edge.instance != bridge.instance


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")  # the legacy era is tested too
async def test_a_call_in_a_session_is_one_trace_too(served: str, receiver: Receiver) -> None:
    traceparent, trace, client = client_context()
    meta: Any = {"traceparent": traceparent}
    async with Client(f"{served}/mcp", mode="legacy", read_timeout_seconds=30) as connected:
        result = await connected.call_tool("traceparent", {}, meta=meta)
    spans = receiver.trace(trace, whole)
    edge, server = one(spans, "SERVER", "mcp-fabric-edge"), one(spans, "SERVER", "traced-server")
    call = one(spans, "CLIENT", "mcp-fabric-bridge")
    assert edge.parent == client
    assert server.parent == call.id
    assert f"00-{trace}-{call.id}-01" in str(result.content)
    assert one(spans, "PRODUCER", "mcp-fabric-edge").name == "send inbox"
    assert edge.attributes["mcp.session.id"] == call.attributes["mcp.session.id"]


def test_a_call_without_a_trace_context_starts_a_trace_at_the_edge(served: str, receiver: Receiver) -> None:
    forwarded = text(post(served, "traceparent"))
    spans = receiver.trace(forwarded[3:35], whole)
    assert one(spans, "SERVER", "mcp-fabric-edge").parent == ""


def test_the_traceparent_header_is_the_parent_without_meta_and_a_link_beside_it(served: str, receiver: Receiver) -> None:
    in_header, trace, client = client_context()
    post(served, "traceparent", traceparent=in_header)
    assert one(receiver.trace(trace, whole), "SERVER", "mcp-fabric-edge").parent == client
    in_meta, trace, client = client_context()
    post(served, "traceparent", meta={"traceparent": in_meta}, traceparent=in_header)
    edge = one(receiver.trace(trace, whole), "SERVER", "mcp-fabric-edge")
    assert edge.parent == client
    assert edge.links == [in_header[36:52]]


def test_an_unsampled_context_is_forwarded_unchanged_and_makes_no_span(served: str, receiver: Receiver) -> None:
    traceparent, trace, _ = client_context(flags="00")
    assert text(post(served, "traceparent", meta={"traceparent": traceparent})) == traceparent
    sampled = text(post(served, "traceparent"))  # spans of the first call would be exported before those of this one
    receiver.trace(sampled[3:35], whole)
    assert trace not in receiver.traces()


@pytest.mark.parametrize("odd", ["not a traceparent", None, 7, {"a": 1}, "00-" + "0" * 32 + "-" + "1" * 16 + "-01"])
def test_an_invalid_context_breaks_no_call(served: str, odd: object) -> None:
    assert "result" in post(served, "traceparent", meta={"traceparent": odd})


def test_a_failing_tool_marks_every_span_that_shares_its_outcome(served: str, receiver: Receiver) -> None:
    traceparent, trace, _ = client_context()
    post(served, "fail", meta={"traceparent": traceparent})
    spans = receiver.trace(trace, whole)
    failed = [span for span in spans if span.service != "traced-server" and span.failed]
    assert {span.kind for span in failed} == {"SERVER", "CONSUMER", "CLIENT"}
    assert {span.attributes["error.type"] for span in failed} == {"tool_error"}


def test_a_resent_call_has_a_span_for_each_sending_and_links_the_last_to_the_first(
    served: str, receiver: Receiver, tmp_path: Path
) -> None:
    traceparent, trace, _ = client_context()
    answer = post(served, "die_once", {"mark": str(tmp_path / "mark")}, {"traceparent": traceparent})
    assert text(answer) == "alive"

    def complete(spans: list[Span]) -> bool:
        """Whether the edge's own span has ended, and the first and last sending were received and processed."""
        parents = {span.parent for span in spans}
        received = {span.parent: span.id for span in spans if span.name == "receive work/traced"}
        sendings = [span.id for span in spans if span.kind == "PRODUCER"]
        ended = any(span.kind == "SERVER" and span.service == "mcp-fabric-edge" for span in spans)
        return ended and len(sendings) > 1 and {received.get(sendings[0]), received.get(sendings[-1])} <= parents

    spans = receiver.trace(trace, complete)
    first, *_, last = [span for span in spans if span.kind == "PRODUCER"]
    assert last.links
    assert "mcp.fabric.attempt" not in first.attributes
    assert int(last.attributes["mcp.fabric.attempt"]) > 1
    received = {span.parent: span for span in spans if span.name == "receive work/traced"}
    assert {first.id, last.id} <= received.keys()
    failed = next(span for span in spans if span.parent == received[first.id].id)
    assert failed.attributes["error.type"] == "returned"
    assert not one(spans, "SERVER", "mcp-fabric-edge").failed


def test_an_unreachable_receiver_breaks_no_call_and_delays_no_shutdown(tmp_path: Path, receiver: Receiver) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}", **QUICK}
    with up(configured(tmp_path, receiver), tmp_path, **environment) as fabric:
        for _ in range(20):
            assert text(post(fabric.url(), "traceparent"))
        assert fabric.stop(timeout=40) == 0


def test_without_otel_variables_no_trace_context_is_added(tmp_path: Path, receiver: Receiver) -> None:
    with up(configured(tmp_path, receiver), tmp_path) as fabric:
        assert text(post(fabric.url(), "traceparent")) == ""


def test_the_spans_of_the_last_call_are_exported_before_the_end(tmp_path: Path, receiver: Receiver) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with up(configured(tmp_path, receiver), tmp_path, **environment) as fabric:
        forwarded = text(post(fabric.url(), "traceparent"))
        assert fabric.stop() == 0
    receiver.trace(forwarded[3:35], whole)


@pytest.mark.parametrize(("variable", "value"), [("OTEL_TRACES_EXPORTER", "zipkin"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")])
def test_an_unsupported_exporter_is_refused_before_anything_starts(tmp_path: Path, variable: str, value: str) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", variable: value, "XDG_STATE_HOME": str(tmp_path)}
    command = [str(PROGRAM), "up", str(EXAMPLES), "--http", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"mcp-fabric: {variable}: {value!r} is not supported")

"""Remote MCP servers by their URL: servers of real SDKs over each transport, and a fabric behind a fabric."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import mcp_types as types
import psutil
import pytest
from mcp import Client as Sdk
from mcp.client import ClientRequestContext

from tests.brokers import missing
from tests.contract.http_client import BOTH, Client, request
from tests.fabrics import ROOT, Process, run, up
from tests.integration.conftest import ECHO, servers, until
from tests.integration.mcp_over_http import INITIALIZE, Session, call, connections, eventually, messages, reason
from tests.integration.test_clients import EVERYTHING, NODE, OLD_SDK
from tests.ports import free_port

REMOTE = Path(__file__).with_name("remote_servers.py")
EXAMPLES = ROOT / "examples" / "servers"
Calls = list[tuple[str, dict[str, Any], str]]
ASK: Calls = [("ask", {}, "Hello a friend")]
OLD: Calls = [("echo", {"message": "h\u00e9llo"}, "Echo: h\u00e9llo"), ("count", {"steps": 4}, "Steps: 4")]
NEW: Calls = [
    ("test_simple_text", {}, "This is a simple text response"),
    ("test_x_mcp_header", {"region": "us w\u00ebst"}, "us w\u00ebst"),
    ("test_tool_with_progress", {}, "successfully"),
]
CALLS: dict[str, Calls] = {
    "new-events": [*NEW, ("test_elicitation", {"message": "Who?"}, "a friend")],
    "new-json": NEW,
    "old-events": [*OLD, *ASK],
    "old-json": OLD,
    "old-sse": [*OLD, *ASK],
    "old-sse-detected": [*OLD, *ASK],
    "old-websocket": [*OLD, *ASK],
    "everything": [
        ("echo", {"message": "h\u00e9llo"}, "Echo: h\u00e9llo"),
        ("trigger-long-running-operation", {"duration": 0.2, "steps": 4}, "Steps: 4"),
        ("trigger-elicitation-request", {}, "provided the requested information"),
    ],
    "fabric": [("echo", {"text": "h\u00e9llo"}, "h\u00e9llo"), ("slow", {"seconds": 0.1}, "")],
    "fabric-websocket": [("echo", {"text": "h\u00e9llo"}, "h\u00e9llo"), ("slow", {"seconds": 0.1}, "")],
}
LISTENS = re.compile(r"^ready$|listening on port", re.MULTILINE)

pytestmark = [
    pytest.mark.requirement("L21", "L06"),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
    pytest.mark.timeout(240),
]


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A fabric whose servers are all remote: its address, and its state folder."""
    if not (OLD_SDK.exists() and EVERYTHING.exists()):
        missing("the previous MCP SDK, or server-everything")
    state = tmp_path_factory.mktemp("upstream")
    ports = [free_port() for _ in range(7)]
    with ExitStack() as stack:
        new = Process(sys.executable, REMOTE, *map(str, ports[:2]), state=state / "new", PYTHONPATH=str(EXAMPLES))
        old = Process(OLD_SDK, REMOTE, *map(str, [*ports[2:5], ports[6]]), state=state / "old")
        every = Process(NODE, EVERYTHING, "streamableHttp", state=state / "everything", PORT=str(ports[5]))
        behind = state / "behind.json"
        behind.write_text(json.dumps({"mcpServers": {"echo": ECHO}}))
        far = up(behind, state / "far")
        for process in (new, old, every, far):
            stack.enter_context(process)
        urls = [f"http://127.0.0.1:{port}/mcp" for port in ports]
        sse = urls[4].replace("/mcp", "/sse")
        served: dict[str, dict[str, Any]] = {
            "new-events": {"url": urls[0]},
            "new-json": {"url": urls[1]},
            "old-events": {"url": urls[2]},
            "old-json": {"url": urls[3]},
            "old-sse": {"url": sse, "type": "sse"},
            "old-sse-detected": {"url": sse},
            "old-websocket": {"url": f"ws://127.0.0.1:{ports[6]}/ws"},
            "everything": {"url": urls[5], "headers": {"X-Unused": "s3cret"}},
            "fabric": {"url": f"{far.url()}/mcp", "type": "http"},
            "fabric-websocket": {"url": f"{far.url()}/echo/ws".replace("http", "ws"), "headers": {"X-Unused": "s3cret"}},
        }
        for process in (new, old, every):
            process.ready(LISTENS)
        config = state / "mcp.json"
        config.write_text(json.dumps({"mcpServers": served}))
        process = stack.enter_context(up(config, state))
        process.ready()
        until(lambda: {server["health"] for server in servers(state)} == {"healthy"}, 40)
        yield process.url(), state


async def client_results(url: str, calls: Calls, era: Literal["legacy", "auto"]) -> tuple[str, list[str], list[float]]:
    """Use a server with a client of the SDK: the revision, the text of each tool, and the progress notifications."""
    progress_seen: list[float] = []
    friend: dict[str, Any] = {"name": "a friend", "username": "a friend", "email": "a@b.example"}

    async def elicit(_: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content=friend)

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        progress_seen.append(progress)

    answers: dict[str, Any] = {"elicitation_callback": elicit}
    async with Sdk(url, mode=era, read_timeout_seconds=30, **answers) as client:
        await client.list_tools()
        texts = []
        for tool, arguments, _ in calls:
            block = (await client.call_tool(tool, arguments, progress_callback=on_progress)).content[0]
            assert isinstance(block, types.TextContent)
            texts.append(block.text)
        return client.protocol_version, texts, progress_seen


@pytest.mark.parametrize("era", ["legacy", "auto"])
@pytest.mark.parametrize("server", CALLS)
async def test_a_client_of_either_era_uses_a_remote_server(
    fabric: tuple[str, Path], server: str, era: Literal["legacy", "auto"]
) -> None:
    calls = CALLS[server]
    version, texts, progress_seen = await client_results(f"{fabric[0]}/{server}/mcp", calls, era)
    assert version == ("2026-07-28" if era == "auto" else "2025-11-25")
    for (tool, _, expected), text in zip(calls, texts, strict=True):
        assert expected in text, tool
    assert bool(progress_seen) == ("json" not in server), "only a stream carries progress"


@pytest.mark.parametrize(("server", "tool"), [("new-json", "test_simple_text"), ("old-sse", "echo")])
def test_the_call_command_uses_a_remote_server(fabric: tuple[str, Path], server: str, tool: str) -> None:
    done = run("call", server, tool, *(["message=simple text"] if tool == "echo" else []), state=fabric[1])
    assert (done.returncode, "simple text" in done.stdout) == (0, True), done.stderr


async def test_calls_of_many_clients_share_a_few_connections(fabric: tuple[str, Path]) -> None:
    address, state = fabric
    port = int(json.loads((state / "mcp.json").read_text())["mcpServers"]["new-json"]["url"].split(":")[2].split("/")[0])
    async with connections([address] * 10) as clients:
        for _ in range(3):
            for client in clients:
                await call(client, "test_simple_text", path="/new-json/mcp")
    open_now = [each for each in psutil.net_connections("tcp") if each.raddr and each.raddr.port == port]
    assert len([each for each in open_now if each.status == psutil.CONN_ESTABLISHED]) in (1, 2, 3)


async def test_a_remote_server_that_restarts_is_used_again_and_its_calls_get_their_own_outcomes(tmp_path: Path) -> None:
    ports = [str(free_port()) for _ in range(4)]
    config = tmp_path / "mcp.json"
    served = {"events": f"http://127.0.0.1:{ports[0]}/mcp", "sse": f"sse+http://127.0.0.1:{ports[2]}/sse"}
    served["websocket"] = f"ws://127.0.0.1:{ports[3]}/ws"
    config.write_text(json.dumps({"mcpServers": {name: {"url": url} for name, url in served.items()}}))
    with Process(OLD_SDK, REMOTE, *ports, state=tmp_path / "first") as first_process, up(config, tmp_path) as process:
        first_process.ready(LISTENS)
        async with connections([process.url()] * 4) as clients:
            http = ["events", "sse"] * 2
            sessions = [await opened(client, name) for client, name in zip(clients, http, strict=True)]
            for session in sessions[:2]:
                session.post(request("tools/call", 9, name="wait", arguments={"seconds": 30}))
            await eventually(lambda: established(ports[0]), lambda count: count >= 3)
            first_process.stop(signal.SIGKILL)
            for session in sessions[:2]:
                broken = messages(await session.client.reply())[-1]
                assert (reason(broken), broken["error"]["data"]["retryable"]) == ("outcome_unknown", False)
            refused = await sessions[2].call("echo", message="?")
            assert (reason(refused), refused["error"]["data"]["retryable"]) == ("unavailable", True)
            assert reason(await sessions[3].call("echo", message="?")) == "session_lost"
            with Process(OLD_SDK, REMOTE, *ports, state=tmp_path / "second") as second_process:
                second_process.ready(LISTENS)
                assert reason(await sessions[2].call("echo", message="?")) == "session_lost"
                for name in served:
                    session = await opened(clients[0], name)
                    assert "back" in str(await session.call("echo", message="back"))


async def opened(client: Client, server: str) -> Session:
    """Open a session with a server once it can be reached."""
    path = f"/{server}/mcp"

    async def initialize() -> Any:
        answer = messages(await client.ask("POST", path, BOTH, request("initialize", **INITIALIZE, capabilities={})))[-1]
        await asyncio.sleep(0.0 if "result" in answer else 0.1)
        return answer

    await eventually(initialize, lambda answer: "result" in answer)
    return await Session.open(client, path)


async def established(port: str) -> int:
    """How many connections to this port there are, counted at both ends."""
    return sum(1 for each in psutil.net_connections("tcp") if each.raddr and each.raddr.port == int(port))

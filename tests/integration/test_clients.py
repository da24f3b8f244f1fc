"""Real, unchanged SDK clients of both generations with published servers, over Streamable HTTP, WebSocket and `connect`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.client import ClientRequestContext
from pydantic import FileUrl

from tests.brokers import missing
from tests.fabrics import PROGRAM, ROOT, fabric_env, up
from tests.integration.conftest import servers, until

NODE = ROOT / ".cache" / "node" / "bin" / "node"
EVERYTHING = ROOT / ".cache/node/everything/node_modules/@modelcontextprotocol/server-everything/dist/index.js"
OLD_SDK = ROOT / ".cache" / "mcp-1" / "bin" / "python"
OLD_CLIENT = """
import anyio, json, sys
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.websocket import websocket_client

async def sample(context, params):
    return types.CreateMessageResult(role="assistant", content=types.TextContent(type="text", text="sampled"), model="m")

async def elicit(context, params):
    return types.ElicitResult(action="accept", content={"name": "a friend", "check": True})

async def roots(context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///here")])

async def main(server, transport, environment):
    if transport.startswith("http"):
        opened = streamable_http_client(transport)
    elif transport.startswith("ws"):
        opened = websocket_client(transport)
    else:
        opened = stdio_client(StdioServerParameters(command=transport, args=["connect", server], env=environment))
    progress = []

    async def on_progress(value, total, message):
        progress.append(value)

    async with opened as streams:
        answers = dict(sampling_callback=sample, elicitation_callback=elicit, list_roots_callback=roots)
        async with ClientSession(*streams[:2], **answers) as session:
            results = {"version": (await session.initialize()).protocolVersion}
            results["tools"] = [tool.name for tool in (await session.list_tools()).tools]
            for tool, arguments in json.load(sys.stdin):
                result = await session.call_tool(tool, arguments, progress_callback=on_progress)
                results[tool] = result.content[0].text
    print(json.dumps(results | {"progress": progress}))

anyio.run(main, sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
"""
CALLS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "time": [("get_current_time", {"timezone": "Europe/Paris"})],
    "everything": [
        ("echo", {"message": "h\u00e9llo"}),
        ("get-sum", {"a": 1, "b": 2}),
        ("trigger-long-running-operation", {"duration": 0.2, "steps": 4}),
        ("trigger-sampling-request", {"prompt": "hi", "maxTokens": 5}),
        ("trigger-elicitation-request", {}),
        ("get-roots-list", {}),
    ],
}
EXPECTED = {
    "get_current_time": "Europe/Paris",
    "echo": "Echo: h\u00e9llo",
    "get-sum": "The sum of 1 and 2 is 3.",
    "trigger-long-running-operation": "Steps: 4",
    "trigger-sampling-request": '"text": "sampled"',
    "trigger-elicitation-request": "provided the requested information",
    "get-roots-list": "file:///here",
}

Kind = Literal["mcp 1.30", "legacy", "auto"]

pytestmark = [
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),  # the legacy era is tested too
    pytest.mark.timeout(240),
]


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A fabric with both servers: its address, and its state folder."""
    if not (NODE.exists() and EVERYTHING.exists()):
        missing("server-everything")
    state = tmp_path_factory.mktemp("clients")
    config = state / "mcp.json"
    served = {
        "time": {"command": sys.executable, "args": ["-m", "mcp_server_time", "--local-timezone", "UTC"]},
        "everything": {"command": str(NODE), "args": [str(EVERYTHING)]},
    }
    config.write_text(json.dumps({"mcpServers": served}))
    with up(config, state) as process:
        process.ready()
        until(lambda: [server["health"] for server in servers(state)] == ["healthy"] * 2, 40)
        yield process.url(), state


async def current(server: str, transport: str, state: Path, era: Literal["legacy", "auto"]) -> dict[str, Any]:
    """The answers that a client of the current SDK gets."""

    async def sample(_: ClientRequestContext, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        return types.CreateMessageResult(role="assistant", content=types.TextContent(text="sampled"), model="m")

    async def elicit(_: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": "a friend", "check": True})

    async def roots(_: ClientRequestContext) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri=FileUrl("file:///here"))])

    seen: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    stdio = StdioServerParameters(command=str(PROGRAM), args=["connect", server], env=fabric_env(state), cwd=str(ROOT))
    answers: dict[str, Any] = {"sampling_callback": sample, "elicitation_callback": elicit, "list_roots_callback": roots}
    async with Client(
        transport if transport.startswith("http") else stdio, mode=era, read_timeout_seconds=30, **answers
    ) as client:
        results: dict[str, Any] = {"version": client.protocol_version}
        results["tools"] = [tool.name for tool in (await client.list_tools()).tools]
        for tool, arguments in CALLS[server]:
            block = (await client.call_tool(tool, arguments, progress_callback=on_progress)).content[0]
            assert isinstance(block, types.TextContent)
            results[tool] = block.text
    return results | {"progress": seen}


def previous(server: str, transport: str, state: Path) -> dict[str, Any]:
    """The answers that a client of the previous SDK gets."""
    if not OLD_SDK.exists():
        missing("the previous MCP SDK")
    command = [str(OLD_SDK), "-c", OLD_CLIENT, server, transport, json.dumps(fabric_env(state))]
    calls = json.dumps(CALLS[server])
    done = subprocess.run(command, input=calls, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    return results


@pytest.mark.requirement("L01", "L07", "L08", "P01", "P03")
@pytest.mark.parametrize("transport", ["HTTP", "connect"])
@pytest.mark.parametrize("server", ["time", "everything"])
@pytest.mark.parametrize("kind", ["mcp 1.30", "legacy", "auto"])
async def test_a_real_client_uses_a_real_server(fabric: tuple[str, Path], kind: Kind, server: str, transport: str) -> None:
    address, state = fabric
    at = f"{address}/{server}/mcp" if transport == "HTTP" else str(PROGRAM)
    results = previous(server, at, state) if kind == "mcp 1.30" else await current(server, at, state, kind)
    check(results, server, "2026-07-28" if kind == "auto" else "2025-11-25")  # server-everything itself is a legacy server


@pytest.mark.requirement("L06", "L16")
@pytest.mark.parametrize("server", ["time", "everything"])
def test_the_previous_sdks_websocket_client_uses_a_real_server(fabric: tuple[str, Path], server: str) -> None:
    address, state = fabric
    check(previous(server, f"{address.replace('http', 'ws')}/{server}/ws", state), server, "2025-11-25")


def check(results: dict[str, Any], server: str, version: str) -> None:
    """Assert that a client got every answer of its server."""
    assert results["version"] == version
    for tool, _ in CALLS[server]:
        assert tool in results["tools"]
        assert EXPECTED[tool] in results[tool]
    assert results["progress"] == ([1, 2, 3, 4] if server == "everything" else [])

"""`fabric.serve` with real SDKs: their server objects serve clients of a fabric, from the program's own process."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import MCPServer

import fabric
from fabric.errors import BrokerRefused, ConfigError
from tests import brokers
from tests.brokers import missing
from tests.fabrics import ROOT, SECRET, Process, run
from tests.integration.test_clients import OLD_SDK
from tests.integration.test_python_clients import FAMILIES, WAIT

OLD_SERVER = """
import asyncio, logging, sys
sys.path += sys.argv[2:]  # the fabric's own packages, behind those of the SDK
import fabric
from mcp.server.fastmcp import FastMCP

logging.basicConfig(level="INFO")
server = FastMCP("notes")

@server.tool()
def add(a: int, b: int) -> int:
    return a + b

asyncio.run(fabric.serve(server, sys.argv[1]))
"""
MODERN = "2026-07-28"
Mode = Literal["legacy", "auto"]

pytestmark = [
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),  # the older era is tested too
    pytest.mark.timeout(240),
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The settings of the program."""
    monkeypatch.setenv("FABRIC_SECRET", SECRET)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.fixture(scope="module", params=[brokers.FAMILIES[0], *FAMILIES], ids=str)
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a broker; that in memory, too, as client and server are one process."""
    server = request.param.make(tmp_path_factory.mktemp("served")).start()
    yield server.url
    server.release()


def high_level(lifespan: Callable[[MCPServer], AbstractAsyncContextManager[None]] | None = None) -> MCPServer:
    """A server whose tools are functions."""
    server = MCPServer("notes", lifespan=lifespan)

    @server.tool()
    def add(a: int, b: int) -> int:
        return a + b

    return server


def low_level() -> Server[Any]:
    """A server with one tool, written by hand."""

    async def list_tools(_: ServerRequestContext[Any, Any], __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool(name="add", input_schema={"type": "object"})])

    async def call_tool(_: ServerRequestContext[Any, Any], params: types.CallToolRequestParams) -> types.CallToolResult:
        total = sum((params.arguments or {}).values())
        return types.CallToolResult(content=[types.TextContent(text=str(total))])

    return Server("notes", on_list_tools=list_tools, on_call_tool=call_tool)


async def added(client: Client) -> str:
    """What its server makes of 1 and 2."""
    block = (await client.call_tool("add", {"a": 1, "b": 2})).content[0]
    assert isinstance(block, types.TextContent)
    return block.text


@pytest.mark.requirement("L11", "C06")
@pytest.mark.parametrize(("mode", "version"), [("legacy", "2025-11-25"), ("auto", MODERN)])
@pytest.mark.parametrize("make", [high_level, low_level])
async def test_a_server_object_serves_clients_over_every_broker(broker: str, make: Any, mode: Mode, version: str) -> None:
    name = f"{make.__name__} {mode}"
    async with asyncio.timeout(WAIT), fabric.serving(make(), broker, name=name) as served, fabric.join(broker) as member:
        assert served.name == name
        async with Client(member.connect(name), mode=mode) as first, Client(member.connect(name), mode=mode) as second:
            assert first.protocol_version == version
            assert [tool.name for tool in (await first.list_tools()).tools] == ["add"]
            assert [*await asyncio.gather(added(first), added(second))] == ["3", "3"]


@pytest.mark.requirement("L11")
def test_a_fastmcp_object_of_the_previous_sdk_serves_until_it_is_stopped(tmp_path: Path) -> None:
    if not OLD_SDK.exists():
        missing("the previous MCP SDK")
    ours = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    nats = brokers.nats(tmp_path).start()
    try:
        program = Process(OLD_SDK, "-c", OLD_SERVER, nats.url, *ours, state=tmp_path, FABRIC_SECRET=SECRET)
        program.ready(re.compile("serving notes"))
        at = ("--broker", nats.url)
        done = run("call", "notes", "add", "a=1", "b=2", *at, state=tmp_path, FABRIC_SECRET=SECRET)
        assert (done.returncode, done.stdout) == (0, "3\n")
        assert program.stop(signal.SIGTERM) == 0
        assert "Traceback" not in program.log.read_text()
        done = run("call", "notes", "add", "a=1", "b=2", *at, state=tmp_path, FABRIC_SECRET=SECRET)
        assert (done.returncode, done.stdout) == (3, "")
    finally:
        nats.release()


async def test_a_session_that_fails_ends_alone(tmp_path: Path) -> None:
    broken = False

    @asynccontextmanager
    async def lifespan(_: MCPServer) -> AsyncIterator[None]:
        if broken:
            raise OSError("no database")
        yield

    server = high_level(lifespan)
    url = brokers.memory(tmp_path).url
    async with asyncio.timeout(WAIT), fabric.serving(server, url), fabric.join(url) as member:

        def client() -> Client:
            return Client(member.connect("notes"), mode="legacy")

        async with client() as first:
            broken = True
            with pytest.RaisesGroup(pytest.RaisesExc(MCPError, match="could not open a session")):
                while True:  # sessions may have begun before
                    async with client() as other:
                        assert await added(other) == "3"
            broken = False
            async with client() as other:
                assert await added(other) == "3"
            assert await added(first) == "3"


async def test_what_is_no_server_is_refused() -> None:
    with pytest.raises(ConfigError, match="str is no server of the MCP SDK"):
        await fabric.serve("server.py", "nats://127.0.0.1:1")


async def test_a_broker_that_is_not_there_ends_the_program() -> None:
    with pytest.raises(BrokerRefused, match="cannot be reached"):
        await fabric.serve(low_level(), "nats://127.0.0.1:1")
    assert asyncio.all_tasks() == {asyncio.current_task()}

"""The Python API with real SDKs and servers: `fabric.connect` as a transport of both SDKs and as a link, and `fabric.join`."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import anyio
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client import ClientRequestContext
from mcp.client.session import SamplingFnT

import fabric
from fabric import LinkState
from fabric.errors import BrokerRefused, ConfigError, LinkBroken, LinkClosed, LinkRefused
from tests import brokers
from tests.brokers import missing
from tests.fabrics import EXAMPLES, ROOT, SECRET, bridge, fabric_env, run, up
from tests.integration.test_clients import OLD_SDK

TIME = f"{sys.executable} -m mcp_server_time --local-timezone UTC"
FAMILIES = [family for family in brokers.FAMILIES if family.separate and family.name != "valkey"]
WAIT = 60.0
"""Longest wait for something that has to happen, in seconds."""
INITIALIZE = b'{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"me","version":"1"}}'
OLD_CLIENT = """
import asyncio, sys
sys.path += sys.argv[3:]  # the fabric's own packages, behind those of the SDK
import fabric
from mcp import ClientSession

async def main(url, server):
    async with fabric.connect(url, server) as streams, ClientSession(*streams) as session:
        version = (await session.initialize()).protocolVersion
        result = await session.call_tool("get_current_time", {"timezone": "Europe/Paris"})
        print(version, result.content[0].text)

asyncio.run(main(*sys.argv[1:3]))
"""

pytestmark = [
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),  # the older era is tested too
    pytest.mark.timeout(240),
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment of a program on another machine than the workers: it shares their secret, and no folder."""
    monkeypatch.setenv("FABRIC_SECRET", SECRET)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.fixture(scope="module", params=FAMILIES, ids=str)
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a broker at which a bridge serves the example servers."""
    state = tmp_path_factory.mktemp("python")
    server = request.param.make(state).start()
    try:
        with bridge(EXAMPLES, state, server.url) as process:
            process.ready()
            yield server.url
    finally:
        server.release()


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """As `broker`, for what depends on no kind of broker."""
    state = tmp_path_factory.mktemp("python-nats")
    server = brokers.nats(state).start()
    try:
        with bridge(EXAMPLES, state, server.url) as process:
            process.ready()
            yield server.url
    finally:
        server.release()


async def time_in_paris(client: Client) -> str:
    """What the server says that the time is there."""
    block = (await client.call_tool("get_current_time", {"timezone": "Europe/Paris"})).content[0]
    assert isinstance(block, types.TextContent)
    return block.text


# ------------------------------------------------------------ transports of the SDKs
@pytest.mark.requirement("L11", "C06")
@pytest.mark.parametrize(("mode", "version"), [("legacy", "2025-11-25"), ("auto", "2026-07-28")])
async def test_a_client_of_the_current_sdk_uses_a_server_over_every_broker(
    broker: str, mode: Literal["legacy", "auto"], version: str
) -> None:
    async with Client(fabric.connect(broker, "time"), mode=mode, read_timeout_seconds=WAIT) as client:
        assert client.protocol_version == version
        assert "get_current_time" in [tool.name for tool in (await client.list_tools()).tools]
        assert "Europe/Paris" in await time_in_paris(client)


@pytest.mark.requirement("L11", "C06")
def test_a_session_of_the_previous_sdk_uses_a_server_over_every_broker(broker: str, tmp_path: Path) -> None:
    if not OLD_SDK.exists():
        missing("the previous MCP SDK")
    ours = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    command = [str(OLD_SDK), "-c", OLD_CLIENT, broker, "time", *ours]
    given = {**fabric_env(tmp_path), "FABRIC_SECRET": SECRET}
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, env=given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2025-11-25 ")
    assert "Europe/Paris" in done.stdout


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A URL of the time server itself, by scheme: each leads to a listener, and `stdio` starts the server."""
    state = tmp_path_factory.mktemp("python-direct")
    listeners = ("--tcp", "127.0.0.1:0=time", "--unix", f"{state}/time.sock=time", "--ws", "127.0.0.1:0=time")
    with up(EXAMPLES, state, *listeners) as process:
        line = process.ready()
        others = {each.partition(":")[0]: each.removesuffix("=time") for each in line.split() if "://" in each}
        yield {**others, "http": f"{process.url()}/time/mcp", "stdio": f"stdio:{TIME}"}


@pytest.mark.requirement("C06")
@pytest.mark.parametrize("scheme", ["http", "ws", "tcp", "unix", "stdio"])
@pytest.mark.parametrize(("mode", "version"), [("legacy", "2025-11-25"), ("auto", "2026-07-28")])
async def test_a_url_of_a_server_itself_needs_no_fabric(
    addresses: dict[str, str], scheme: str, mode: Literal["legacy", "auto"], version: str
) -> None:
    connection = fabric.connect(addresses[scheme])
    for _ in range(2):  # it may be entered again
        async with Client(connection, mode=mode, read_timeout_seconds=WAIT) as client:
            assert client.protocol_version == version
            assert "Europe/Paris" in await time_in_paris(client)


@pytest.mark.requirement("L11")
@pytest.mark.parametrize("by", ["asyncio", "anyio"])
async def test_a_program_that_is_cancelled_in_a_call_leaves_nothing_behind(nats: str, by: str) -> None:
    before, scope, asked = asyncio.all_tasks(), anyio.CancelScope(), asyncio.Event()

    async def never(
        context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult | types.ErrorData:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("it has no end")

    async def call() -> None:
        with scope:
            async with Client(fabric.connect(nats, "conformance"), mode="legacy", sampling_callback=never) as client:
                await client.call_tool("test_sampling", {"prompt": "hi"})

    calling = asyncio.create_task(call())
    async with asyncio.timeout(WAIT):
        await asked.wait()
        if by == "anyio":
            scope.cancel()
        else:
            calling.cancel()
        await asyncio.wait([calling])
    assert asyncio.all_tasks() == before


@pytest.mark.requirement("L11")
async def test_the_end_of_a_server_ends_the_calls_of_its_client() -> None:
    server = f"stdio:{sys.executable} -c 'input()'"
    with pytest.RaisesGroup(pytest.RaisesExc(MCPError, match="Connection closed")):
        async with asyncio.timeout(WAIT), Client(fabric.connect(server), mode="legacy"):
            pass


# ------------------------------------------------------------ many clients
@pytest.mark.requirement("C08")
async def test_one_connection_serves_many_clients_each_initialized_on_its_own(nats: str, tmp_path: Path) -> None:
    async with fabric.join(nats) as member, AsyncExitStack() as stack:

        def client(words: str) -> Client:
            return Client(member.connect("conformance"), mode="legacy", sampling_callback=saying(words))

        first, second = [await stack.enter_async_context(client(words)) for words in ("one", "two")]
        modern = await stack.enter_async_context(Client(member.connect("time"), mode="auto"))
        assert member.servers == ["conformance", "git", "time"]
        async with client("three") as third:
            answers = [*await asyncio.gather(*map(sampled, (first, second, third)))]
            assert answers == ["LLM response: one", "LLM response: two", "LLM response: three"]
            assert await asyncio.to_thread(edges, nats, tmp_path) == ["python"]
        assert [await sampled(each) for each in (first, second)] == ["LLM response: one", "LLM response: two"]
        assert "Europe/Paris" in await time_in_paris(modern)
    assert await asyncio.to_thread(edges, nats, tmp_path) == []


def edges(broker: str, state: Path) -> list[str]:
    """The addresses of the edges of the fabric there."""
    done = run("ls", "--json", "--broker", broker, state=state, FABRIC_SECRET=SECRET)
    return [each["address"] for each in json.loads(done.stdout)["workers"] if each["role"] == "edge"]


def saying(words: str) -> SamplingFnT:
    """A model that always says the same."""

    async def sample(context: ClientRequestContext, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        return types.CreateMessageResult(role="assistant", content=types.TextContent(text=words), model="m")

    return sample


async def sampled(client: Client) -> str:
    """What a tool gets that asks its client's model."""
    block = (await client.call_tool("test_sampling", {"prompt": "hi"})).content[0]
    assert isinstance(block, types.TextContent)
    return block.text


@pytest.mark.requirement("C08")
async def test_a_connection_has_one_client_at_a_time(nats: str) -> None:
    connection = fabric.connect(nats, "time")
    async with connection:
        with pytest.raises(RuntimeError, match="each client has one of its own"):
            await connection.__aenter__()


# ------------------------------------------------------------ links
@pytest.mark.requirement("C06")
@pytest.mark.parametrize("scheme", ["nats", "http", "ws", "tcp", "unix", "stdio"])
async def test_a_link_carries_frames_and_says_its_state(nats: str, addresses: dict[str, str], scheme: str) -> None:
    link = (fabric.connect(nats, "time") if scheme == "nats" else fabric.connect(addresses[scheme])).link()
    assert link.state is LinkState.NEW
    with pytest.raises(LinkClosed, match="open the link first"):
        link.send(b"{}")
    async with asyncio.timeout(WAIT), link:
        await link.connect()  # again
        assert str(link.state) == "open"
        link.send(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":%s}' % INITIALIZE)
        link.send(b'{"jsonrpc":"2.0","id":"two","method":"ping"}')
        answered = set()
        async for message in link:
            answered.add(message.id)
            if len(answered) == 2:
                break
        assert answered == {b"1", b'"two"'}
        await link.aclose()
        assert [message async for message in link] == []
    await link.aclose()
    assert str(link.state) == "closed"
    with pytest.raises(LinkClosed):
        await link.receive()
    with pytest.raises(LinkClosed, match="make another"):
        await link.connect()


@pytest.mark.requirement("C06")
async def test_a_link_whose_server_has_ended_is_closed() -> None:
    async with asyncio.timeout(WAIT), fabric.connect(f"stdio:{sys.executable} -c pass").link() as link:
        with pytest.raises(LinkBroken, match="exit"):
            async for _ in link:
                pass
        assert link.state is LinkState.CLOSED


# ------------------------------------------------------------ refusals
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("tcp://127.0.0.1:1", "time"), "only a broker's URL is given with the name of a server"),
        (("nats://127.0.0.1:1",), "nats:// is a broker; name the server, too"),
        (("docker:mcp/time",), "a container is started by a bridge, not by a client"),
        (("gopher://127.0.0.1:1",), "unknown scheme gopher; known are stdio:, "),
        (("tcp://127.0.0.1",), "is not tcp://HOST:PORT"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_at_once(arguments: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        fabric.connect(*arguments)


async def test_a_broker_or_server_that_is_not_there_is_an_error_of_the_fabric() -> None:
    with pytest.raises(BrokerRefused, match=r"nats://127\.0\.0\.1:1: cannot be reached"):
        async with Client(fabric.connect("nats://someone:hidden@127.0.0.1:1", "time")):
            pass
    with pytest.raises(LinkRefused, match=r"tcp://127\.0\.0\.1:1"):
        async with fabric.connect("tcp://127.0.0.1:1").link():
            pass


async def test_a_server_that_nobody_serves_is_an_error_of_the_first_request(nats: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(MCPError, match="no server is named 'tiem'")):
        async with Client(fabric.connect(nats, "tiem")):
            pass


async def test_another_secret_than_that_of_the_fabric_is_refused(nats: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FABRIC_SECRET", "another secret of enough bytes")
    with pytest.raises(ConfigError, match="secret"):
        async with fabric.join(nats):
            pass


async def test_a_fabric_of_another_name_is_another_fabric(nats: str) -> None:
    async with fabric.join(nats, fabric="elsewhere") as member:
        assert member.servers == []

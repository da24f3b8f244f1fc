"""Doors beside HTTP: clients of both eras over TCP and Unix sockets, bad input at each, and a fabric as another's server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp.types
import pytest
import websockets.asyncio.client
from mcp.client.client import Client as SdkClient
from mcp.shared.message import SessionMessage
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from tests.brokers import FAMILIES
from tests.certificates import Authority
from tests.conversing import conversing
from tests.fabrics import EXAMPLES, ROOT, Process, ask, bridge, edge, up
from tests.integration.conftest import ECHO, Write, servers, until
from tests.integration.talk import eventually

pytestmark = [pytest.mark.requirement("L04", "L05"), pytest.mark.timeout(240)]
ECHO_SERVER = ROOT / "examples" / "servers" / "echo.py"
LIMIT = 65_536
WAIT = 20.0
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def addresses(process: Process) -> dict[str, str]:
    """The doors that its ready line names, by scheme; the server each leads to is left out."""
    words = process.ready().split()
    return {word.partition("://")[0]: word.partition("=")[0] for word in words if "://" in word}


class Line:
    """A raw connection that speaks one message a line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, *messages: Any) -> None:
        self.writer.write(b"".join(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n" for message in messages))

    async def heard(self) -> Any:
        async with asyncio.timeout(WAIT):
            line = await self.reader.readline()
        return json.loads(line) if line else None

    async def asked(self, method: str, id: object = 1, **params: Any) -> Any:
        """A request of the legacy era; its response."""
        self.say({"id": id, "method": method, "params": params})
        while (message := await self.heard()).get("id") != id or "method" in message:
            pass
        return message

    async def called(self, tool: str, id: object = 1, **arguments: Any) -> Any:
        """A modern tool call; its response."""
        return await self.asked("tools/call", id, name=tool, arguments=arguments, _meta=META)

    async def initialized(self) -> Any:
        opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
        answer = await self.asked("initialize", "open", **opening)
        self.say({"method": "notifications/initialized"})
        return answer


@asynccontextmanager
async def line(address: str) -> AsyncIterator[Line]:
    """A connection to a door over TCP or a Unix socket."""
    if address.startswith("unix://"):
        streams = await asyncio.open_unix_connection(address.removeprefix("unix://"), limit=1 << 24)
    else:
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        streams = await asyncio.open_connection(host, int(port), limit=1 << 24)
    try:
        yield Line(*streams)
    finally:
        streams[1].close()
        with contextlib.suppress(OSError):
            await streams[1].wait_closed()


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The doors of a fabric with an echo server, by scheme."""
    folder = tmp_path_factory.mktemp("doors")
    config = folder / "mcp.json"
    config.write_text(
        json.dumps(
            {
                "mcpServers": {"echo": ECHO},
                "fabric": {"maxFrameBytes": LIMIT, "halfClosedTimeout": 2, "unix": ["echo.sock=echo"]},
            }
        )
    )
    with up(config, folder / "state", "--tcp", "127.0.0.1:0=echo", FABRIC_WS="127.0.0.1:0") as process:
        found = addresses(process)
        until(lambda: {server["health"] for server in servers(folder / "state")} == {"healthy"})
        yield found


each_door = pytest.mark.parametrize("door", ["tcp", "unix"])


# ---------------------------------------------------------------- good clients
@each_door
async def test_a_client_of_each_era_is_served_over_a_socket(serving: dict[str, str], door: str) -> None:
    async with line(serving[door]) as modern, line(serving[door]) as legacy:
        assert (await modern.called("echo", 7, text="modern"))["result"]["content"][0]["text"] == "modern"
        assert (await legacy.initialized())["result"]["serverInfo"]["name"]
        answer = await legacy.asked("tools/call", "7", name="echo", arguments={"text": "legacy"})
        assert answer["result"]["content"][0]["text"] == "legacy"


@each_door
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_sdk_is_served_over_a_socket(serving: dict[str, str], door: str, mode: str) -> None:
    async with SdkClient(sdk_transport(serving[door]), mode=mode) as client:
        answer = await client.call_tool("echo", {"text": "through a socket"})
        content = answer.content[0]
        assert isinstance(content, mcp.types.TextContent)
        assert content.text == "through a socket"


@asynccontextmanager
async def sdk_transport(address: str) -> AsyncIterator[Any]:
    """A transport of the SDK over a line of ours."""
    to_client, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, from_client = anyio.create_memory_object_stream[SessionMessage](0)
    async with line(address) as connection, anyio.create_task_group() as group:

        async def read() -> None:
            async with to_client:
                while text := await connection.reader.readline():
                    message = mcp.types.jsonrpc_message_adapter.validate_json(text, by_name=False)
                    await to_client.send(SessionMessage(message))

        async def write() -> None:
            async with from_client:
                async for sent in from_client:
                    connection.writer.write(sent.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")

        group.start_soon(read)
        group.start_soon(write)
        yield incoming, outgoing
        group.cancel_scope.cancel()


async def test_a_websocket_door_leads_to_every_server_or_to_its_own(
    serving: dict[str, str], config: Write, tmp_path: Path
) -> None:
    with up(config(one=ECHO, two=ECHO), tmp_path, "--ws", "127.0.0.1:0=two") as process:
        own = addresses(process)["ws"]
        for url in (serving["ws"], f"{serving['ws']}/echo/ws", own, f"{own}/two/ws"):
            async with websockets.asyncio.client.connect(url, subprotocols=[Subprotocol("mcp")]) as client:
                params = {"name": "echo", "arguments": {"text": "framed"}, "_meta": META}
                await client.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}))
                assert json.loads(await client.recv())["result"]["content"][0]["text"] == "framed"
        for url in (f"{serving['ws']}/mcp", f"{own}/one/ws"):
            with pytest.raises(InvalidStatus, match="404"):
                await websockets.asyncio.client.connect(url, subprotocols=[Subprotocol("mcp")])


async def test_the_first_client_of_each_websocket_door_gets_its_own_answer(config: Write, tmp_path: Path) -> None:
    with up(config(one=ECHO), tmp_path, "--ws", "127.0.0.1:0", "--ws", "127.0.0.1:0") as process:
        http, *others = [word.replace("http:", "ws:") for word in process.ready().split() if "://" in word]
        async with contextlib.AsyncExitStack() as stack, asyncio.timeout(WAIT):
            clients = [
                await stack.enter_async_context(websockets.asyncio.client.connect(f"{door}/one/ws")) for door in (http, *others)
            ]
            for number, client in enumerate(clients):
                params = {"name": "echo", "arguments": {"text": f"{number}"}, "_meta": META}
                await client.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}))
            answers = [json.loads(await client.recv()) for client in clients]
    assert [answer["result"]["content"][0]["text"] for answer in answers] == ["0", "1", "2"]


async def test_two_hundred_clients_with_the_same_id_get_their_own_answers(serving: dict[str, str]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(line(serving[door])) for door in ("tcp", "unix") for _ in range(100)]
        answers = await asyncio.gather(*(each.called("echo", 1, text=f"{n}") for n, each in enumerate(clients)))
    assert [answer["result"]["content"][0]["text"] for answer in answers] == [f"{number}" for number in range(200)]


@each_door
async def test_who_has_said_all_is_still_answered(serving: dict[str, str], door: str) -> None:
    async with line(serving[door]) as client:
        client.say({"id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "last"}, "_meta": META}})
        client.writer.write_eof()
        assert (await client.heard())["result"]["content"][0]["text"] == "last"
        assert await client.heard() is None


@each_door
async def test_who_has_said_all_and_is_not_answered_in_time_is_told_so(serving: dict[str, str], door: str) -> None:
    async with line(serving[door]) as client:
        params = {"name": "slow", "arguments": {"seconds": 50}, "_meta": META}
        client.say({"id": 1, "method": "tools/call", "params": params}, {"id": 2, "method": "ping"})
        client.writer.write_eof()
        assert (await client.heard())["id"] == 2
        assert (await client.heard())["error"]["data"]["reason"] == "outcome_unknown"
        assert await client.heard() is None


async def test_many_who_have_said_all_wait_while_others_are_served(serving: dict[str, str]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        waiting = [await stack.enter_async_context(line(serving["tcp"])) for _ in range(50)]
        for each in waiting:
            params = {"name": "slow", "arguments": {"seconds": 1}, "_meta": META}
            each.say({"id": 1, "method": "tools/call", "params": params})
            each.writer.write_eof()
        other = await stack.enter_async_context(line(serving["tcp"]))
        for number in range(20):
            assert "result" in await other.called("echo", number, text="served")
        assert all("result" in answer for answer in await asyncio.gather(*(each.heard() for each in waiting)))


# ---------------------------------------------------------------- bad ones
@each_door
async def test_bad_lines_get_their_error_and_the_connection_lives(serving: dict[str, str], door: str) -> None:
    async with line(serving[door]) as client:
        for bad, code in [
            (b"not json", -32700),
            (b"\xff\xfe", -32700),
            (b'{"jsonrpc":"2.0","id":5}', -32600),
            (b"[1]", -32600),
            (b"[" * 50_000, -32700),
            (b'{"jsonrpc":"2.0","id":5,"method":"' + b"x" * LIMIT + b'"}', -31005),
        ]:
            client.writer.write(bad + b"\r\n")
            assert (await client.heard())["error"]["code"] == code
        assert (await client.called("echo", text="still here"))["result"]["content"][0]["text"] == "still here"


@each_door
async def test_a_line_without_an_end_costs_no_more_than_its_limit(serving: dict[str, str], door: str) -> None:
    async with line(serving[door]) as endless, line(serving[door]) as other:
        for _ in range(200):
            endless.writer.write(b"x" * LIMIT)
            await endless.writer.drain()
        assert (await endless.heard())["error"]["data"]["reason"] == "too_large"
        assert (await other.called("echo", text="unharmed"))["result"]["content"][0]["text"] == "unharmed"


@each_door
async def test_silent_slow_and_broken_clients_hinder_nobody(serving: dict[str, str], door: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(line(serving[door])) for _ in range(50)]
        halves = [await stack.enter_async_context(line(serving[door])) for _ in range(50)]
        for each in halves:
            each.writer.write(b'{"jsonrpc":"2.0","id":1,"meth')
        slow = await stack.enter_async_context(line(serving[door]))
        slow.reader._transport.pause_reading()  # type: ignore[attr-defined]  # it has one
        text = "x" * 60_000
        for number in range(300):
            params = {"name": "echo", "arguments": {"text": text}, "_meta": META}
            slow.say({"id": number, "method": "tools/call", "params": params})
        other = await stack.enter_async_context(line(serving[door]))
        for number in range(20):
            assert (await other.called("echo", number, text="served"))["result"]["content"][0]["text"] == "served"
        for each in silent[:25] + halves[:25]:
            each.writer.transport.abort()
        for each in halves[25:]:
            each.writer.write_eof()
            assert (await each.heard())["error"]["code"] == -32700
        assert (await other.called("echo", text="served"))["result"]["content"][0]["text"] == "served"


async def test_a_web_page_cannot_speak_through_a_browsers_post(serving: dict[str, str]) -> None:
    async with line(serving["tcp"]) as browser:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}}).encode() + b"\n"
        browser.writer.write(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        with contextlib.suppress(ConnectionResetError):
            assert await browser.heard() is None


# ---------------------------------------------------------------- a fabric as the server of another
async def test_a_fabric_behind_a_socket_is_the_server_of_another(serving: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"far": {"url": serving["tcp"]}, "near": {"url": serving["unix"]}}}))
    with up(config, tmp_path / "state", "--tcp", "127.0.0.1:0=far", "--unix", f"{tmp_path}/near.sock=near") as process:
        doors = addresses(process)
        until(lambda: {server["health"] for server in servers(tmp_path / "state")} == {"healthy"})
        for door in ("tcp", "unix"):
            async with line(doors[door]) as modern, line(doors[door]) as one, line(doors[door]) as two:
                assert (await modern.called("echo", text="far"))["result"]["content"][0]["text"] == "far"
                await one.initialized()
                await two.initialized()
                for session in (one, two):
                    answer = await session.asked("tools/call", 1, name="echo", arguments={"text": "in a session"})
                    assert answer["result"]["content"][0]["text"] == "in a session"


@asynccontextmanager
async def echo_behind(path: Path | None, authority: Authority | None = None) -> AsyncIterator[str]:
    """The echo server on a Unix socket, or on a port with TLS: a process for each connection, as inetd would have it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, "-S", ECHO_SERVER, stdin=pipe, stdout=pipe)
        assert process.stdin
        assert process.stdout

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        try:
            await asyncio.gather(copy(reader, process.stdin), copy(process.stdout, writer))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    listening = None
    if path is not None:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
    async with conversing(serve, listening, tls=authority.server() if authority else None) as port:
        yield "" if path else f"tls://127.0.0.1:{port}"


async def test_a_server_that_is_not_there_is_served_once_it_is_and_again_after_it_was_lost(
    config: Write, tmp_path: Path
) -> None:
    path = tmp_path / "late.sock"
    odd = {"url": "ws://127.0.0.1:9/ws", "headers": {"Upgrade": "secret"}}
    with up(
        config(late={"url": f"unix://{path}"}, odd=odd), tmp_path, "--tcp", "127.0.0.1:0=late", "--unix", f"{tmp_path}/o=odd"
    ) as front:
        async with line(addresses(front)["unix"]) as client:
            refused = (await client.called("echo", text="never"))["error"]
            assert (refused["data"]["reason"], "Upgrade" in refused["message"]) == ("unavailable", True)
            assert "secret" not in refused["message"] + front.log.read_text()
        async with line(addresses(front)["tcp"]) as client:
            refused = await client.called("echo", text="too early")
            assert refused["error"]["data"]["reason"] == "unavailable"
            assert f"cannot connect to unix://{path}" in refused["error"]["message"]
            for _ in range(2):  # the second time it has been lost
                async with echo_behind(path):
                    answer = await eventually(lambda: client.called("echo", text="there"), lambda answer: "result" in answer)
                    assert answer["result"]["content"][0]["text"] == "there"


async def test_a_server_over_tls_is_trusted_by_its_authority_and_by_nothing_less(config: Write, tmp_path: Path) -> None:
    own = Authority.make()
    async with echo_behind(None, own) as url:
        trusted, unknown = {"url": url, "tls": {"ca": own.trust.ca}}, {"url": url}
        doors = ("--tcp", "127.0.0.1:0=trusted", "--unix", f"{tmp_path}/unknown=unknown")
        with up(config(trusted=trusted, unknown=unknown), tmp_path, *doors) as front:
            async with line(addresses(front)["tcp"]) as client:
                assert (await client.called("echo", text="private"))["result"]["content"][0]["text"] == "private"
            async with line(addresses(front)["unix"]) as client:
                refused = (await client.called("echo", text="never"))["error"]
                assert refused["data"]["reason"] == "unavailable"
                assert f"the certificate of {url} is not trusted" in refused["message"]
            await asyncio.to_thread(front.stop)  # while its server, which is in this process, takes leave of it


# ---------------------------------------------------------------- a stranger's run
@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A NATS server's URL."""
    server = next(family for family in FAMILIES if family.name == "nats").make(tmp_path).start()
    yield server.url
    server.kill()


def test_a_socket_that_is_asked_for_is_named_served_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "time.sock"
    with up(
        EXAMPLES, tmp_path / "state", "--tcp", "127.0.0.1:0=time", "--unix", f"{path}=time", FABRIC_UNIX_MODE="0660"
    ) as process:
        ready = process.ready()
        assert re.search(rf" tcp://127\.0\.0\.1:[0-9]+=time unix://{path}=time$", ready)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(WAIT)
            client.connect(str(path))
            client.sendall(
                b'{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":%b}}\n' % json.dumps(META).encode()
            )
            assert "2026-07-28" in json.loads(client.makefile("rb").readline())["result"]["supportedVersions"]
        assert process.stop(signal.SIGTERM) == 0
        assert not path.exists()


def test_an_edge_has_doors_to_servers_at_other_bridges(config: Write, tmp_path: Path, broker: str) -> None:
    (tmp_path / "none.json").write_text("{}")
    with (
        bridge(config(), tmp_path, broker) as serving,
        edge(tmp_path / "none.json", tmp_path, broker, "--tcp", "127.0.0.1:0=echo") as door,
    ):
        serving.ready()
        address = addresses(door)["tcp"]
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=WAIT) as client:
            client.sendall(
                b'{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":%b}}\n' % json.dumps(META).encode()
            )
            assert "result" in json.loads(client.makefile("rb").readline())


def test_a_taken_admin_port_ends_the_start_with_one_line(config: Write, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        admin = f"127.0.0.1:{taken.getsockname()[1]}"
        done = ask("up", config(one=ECHO), "--http", "127.0.0.1:0", "--admin", admin, state=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"mcp-fabric: admin: cannot listen on {admin}: Address already in use; free the port or choose another"
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--tcp", "127.0.0.1:0=nobody"], "--tcp: no enabled server is called nobody; there are one, two"),
        (
            ["--tcp", "127.0.0.1:0"],
            "--tcp: 127.0.0.1:0 names no server, and there is no default server: give 127.0.0.1:0=SERVER, with one of one, two",
        ),
        (["--tcp", "nowhere=one"], "--tcp: 'nowhere' is not PORT or HOST:PORT"),
        (["--tcp", "0.0.0.0:0=one"], "--tcp: 0.0.0.0 can be reached from other machines, and TCP authenticates nobody"),
        (["--tcp", "127.0.0.1:7000=one", "--tcp", "127.0.0.1:7000=one"], "--tcp: 127.0.0.1:7000=one is there twice"),
        (["--unix", "a=one", "--unix", "./a=two"], "--unix: unix a=one and unix ./a=two are at one address"),
        (["--ws", "0.0.0.0:0"], "--ws: 0.0.0.0 can be reached from other machines and no authentication is configured"),
        (["--unix", "/nowhere/at/all=one"], "unix: cannot listen on /nowhere/at/all: there is no folder /nowhere/at"),
    ],
)
def test_a_door_that_cannot_be_opened_is_refused_by_name(
    config: Write, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    done = ask("up", config(one=ECHO, two=ECHO), "--http", "127.0.0.1:0", *arguments, state=tmp_path)
    assert (done.returncode, expected in done.stderr) == (2, True), done.stderr

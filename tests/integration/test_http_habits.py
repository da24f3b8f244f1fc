"""Habits of real HTTP clients against a running fabric: upgrades, Accept, slashes, nulls, early pings, slow calls."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.brokers import missing
from tests.contract.http_client import BOTH, Client, modern, request
from tests.fabrics import ROOT, Process, up
from tests.integration.conftest import ECHO
from tests.integration.mcp_over_http import INITIALIZE, REVISIONS, Session, call_request, event, events, messages, text

pytestmark = [pytest.mark.requirement("L07", "L08"), pytest.mark.timeout(120)]
ECHO_SERVER = ROOT / "examples" / "servers" / "echo.py"
MIRROR = {"command": sys.executable, "args": ["-S", str(ROOT / "tests" / "integration" / "mirror_server.py")]}
SLOW_START = f"import time, runpy; time.sleep(2); runpy.run_path({str(ECHO_SERVER)!r}, run_name='__main__')"
LATE = {"command": sys.executable, "args": ["-S", "-c", SLOW_START], "warm": 0, "health": {"enabled": False}}
KEEP_ALIVE = 0.4
COMMENT = b":\n\n"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("habits")
    servers = {"echo": ECHO, "mirror": MIRROR, "io.github.x/late one": LATE}
    config = folder / "mcp.json"
    config.write_text(
        json.dumps({"mcpServers": servers, "defaultServer": "echo", "fabric": {"keepAlive": KEEP_ALIVE, "tcp": "127.0.0.1:0"}})
    )
    with up(config, folder / "state") as process:
        yield process


@pytest.fixture
def url(process: Process) -> str:
    return process.url()


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    async with await Client.open(url) as client:
        yield client


# ---------------------------------------------------------------- upgrades
def test_curl_that_offers_http_2_is_answered_as_http_1_1(url: str) -> None:
    curl = shutil.which("curl")
    if curl is None or "HTTP2" not in subprocess.run([curl, "--version"], capture_output=True, text=True, check=True).stdout:
        missing("curl with HTTP/2")
    headers, body = modern("tools/call", name="echo", arguments={"text": "habit"})
    lines = [word for name, value in headers.items() if name != "Accept" for word in ("-H", f"{name}: {value}")]
    command = [str(curl), "-sS", "--http2", "-w", "\n%{http_version} %{http_code}", *lines, "--data-binary", "@-", f"{url}/mcp"]
    for padding in ("", "x" * 200_000):  # with the longer one curl expects 100 Continue
        sent = body.replace(b"habit", b"habit" + padding.encode())
        done = subprocess.run(command, input=sent, capture_output=True, timeout=60, check=True)
        answer, _, status = done.stdout.decode().rpartition("\n")
        assert status == "1.1 200"
        assert text(json.loads(answer)) == "habit" + padding


async def test_a_post_that_offers_a_websocket_is_answered_as_http_1_1(client: Client) -> None:
    offer = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    headers, body = modern("tools/call", name="echo", arguments={"text": "habit"})
    answer = await client.ask("POST", "/mcp", headers | offer | {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}, body)
    assert (answer.status, text(answer.json)) == (200, "habit")


async def test_a_trailing_slash_and_an_escaped_name_reach_the_same_server(client: Client) -> None:
    for path in ("/mcp", "/mcp/", "/echo/mcp/", "/%65cho/mcp"):
        reply = await client.ask("POST", path, *modern("tools/call", name="echo", arguments={"text": path}))
        assert (reply.status, text(reply.json)) == (200, path)
    async with connect(client_url(client).replace("http", "ws") + "/echo/ws/", compression=None) as socket:
        await socket.send('{"jsonrpc":"2.0","id":1,"method":"ping"}')
        assert json.loads(await asyncio.wait_for(socket.recv(), 30)) == {"jsonrpc": "2.0", "id": 1, "result": {}}


async def test_a_client_of_http_sse_is_directed_to_streamable_http(client: Client) -> None:
    for path, where in (("/sse", "/mcp"), ("/echo/sse", "/echo/mcp")):
        reply = await client.ask("GET", path, {"Accept": "text/event-stream"})
        assert (reply.status, f"let the client speak Streamable HTTP, at {where};" in reply.json["error"]["message"]) == (
            404,
            True,
        )


# ---------------------------------------------------------------- Accept
@pytest.mark.requirement("P05")
async def test_a_client_that_accepts_only_json_gets_json_despite_progress_and_a_slow_call(
    client: Client,
) -> None:
    params = {"name": "slow", "arguments": {"seconds": 3 * KEEP_ALIVE}, "_meta": {"progressToken": "t"}}
    headers, body = modern("tools/call", **params)
    reply = await client.ask("POST", "/mcp", headers | {"Accept": "application/json"}, body)
    assert (reply.headers["content-type"], text(reply.json)) == ("application/json", f"waited {3 * KEEP_ALIVE:g} s")
    session = await Session.open(client)
    client.send("POST", "/mcp", session.headers | {"Accept": "application/json"}, request("tools/call", **params))
    reply = await client.reply()
    assert (reply.headers["content-type"], text(reply.json)) == ("application/json", f"waited {3 * KEEP_ALIVE:g} s")


@pytest.mark.requirement("P09")
async def test_a_client_that_accepts_only_json_is_asked_on_its_session_stream(client: Client, url: str) -> None:
    session = await Session.open(client, "/mirror/mcp", capabilities={"sampling": {}})
    async with await Client.open(url) as stream, await Client.open(url) as third:
        stream.send("GET", "/mirror/mcp", session.headers | {"Accept": "text/event-stream"})
        assert (await stream.head()).status == 200
        asking = request("tools/call", name="ask", arguments={"questions": [{"method": "ping"}]})
        client.send("POST", "/mirror/mcp", session.headers | {"Accept": "application/json"}, asking)
        question = await event(stream)
        assert question["method"] == "ping"
        assert await session.at(third).send({"id": question["id"], "result": {"by": "hand"}}) == 202
        reply = await client.reply()
        assert (reply.headers["content-type"], reply.json["result"]["answers"]) == ("application/json", [{"by": "hand"}])


# ---------------------------------------------------------------- slow calls
@pytest.mark.parametrize("version", REVISIONS)
async def test_a_slow_call_is_answered_by_a_stream_with_comments_in_every_revision(client: Client, version: str) -> None:
    asked = await call_request(client, "/mcp", version, name="slow", arguments={"seconds": 4 * KEEP_ALIVE})
    reply = await client.ask("POST", "/mcp", *asked)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
    assert reply.body.count(COMMENT) >= 2
    assert [text(answer) for answer in events(reply.body)] == [f"waited {4 * KEEP_ALIVE:g} s"]


async def test_an_initialize_of_a_slow_server_is_answered_by_a_stream_and_opens_a_session(client: Client) -> None:
    path = "/io.github.x%2Flate%20one/mcp/"
    reply = await client.ask("POST", path, BOTH, request("initialize", "open", **INITIALIZE, capabilities={}))
    assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
    assert reply.body.count(COMMENT) >= 2
    [opened] = events(reply.body)
    session = Session(client, reply.headers["mcp-session-id"], path, opened)
    assert await session.notify("notifications/initialized") == 202
    assert text(await session.call("echo", text="here")) == "here"


# ---------------------------------------------------------------- params and pings
@pytest.mark.requirement("P12")
async def test_null_params_reach_the_server_unchanged(client: Client, url: str) -> None:
    session = await Session.open(client, "/mirror/mcp")
    async with await Client.open(url) as other:
        for params in ("null", "[]", '{"_meta": null}', '{"_meta": {"progressToken": null}, "arguments": null}'):
            line = f'{{"jsonrpc": "2.0", "id": 1, "method": "prompts/list", "params": {params}}}'.encode()
            session.post(line)
            shown = messages(await client.reply())[-1]["result"]["raw"]
            assert shown == line.decode().replace('"id": 1', '"id": "ID"')
        headers, body = modern("tools/call", name="received", arguments={})
        body = body.replace(b'"arguments": {}', b'"arguments": null')
        assert (await other.ask("POST", "/mirror/mcp", headers, body)).json["result"]["received"]


async def test_a_ping_needs_no_session(client: Client, process: Process) -> None:
    ping = b'{"jsonrpc":"2.0","id":"p","method":"ping"}'
    pong: Any = {"jsonrpc": "2.0", "id": "p", "result": {}}
    reply = await client.ask("POST", "/io.github.x%2Flate%20one/mcp", BOTH, ping)
    assert (reply.status, reply.json) == (200, pong)
    address = (
        next(word for word in process.ready().split() if word.startswith("tcp://")).removeprefix("tcp://").partition("=")[0]
    )
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(ping + b"\n" + request("initialize", "open", **INITIALIZE, capabilities={}) + b"\n" + ping + b"\n")
    async with asyncio.timeout(30):
        answers = [json.loads(await reader.readline()) for _ in range(3)]
    assert answers[0] == pong
    assert sorted(answer["id"] for answer in answers) == ["open", "p", "p"]
    writer.close()


def client_url(client: Client) -> str:
    return f"http://127.0.0.1:{client.port}"

"""JSON-RPC batches over HTTP, stdio and WebSocket through real processes: answered in 2025-03-26, refused in others."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from fabric.mcp import batches, jsonrpc
from tests.contract.http_client import BOTH, Client, Reply, request
from tests.fabrics import up
from tests.integration.conftest import ECHO, Write
from tests.integration.mcp_over_http import connections, messages, text
from tests.integration.test_cluster import MIRROR
from tests.integration.test_connect import Host

pytestmark = [pytest.mark.requirement("P14"), pytest.mark.timeout(240)]
REVISION = batches.REVISION
OTHERS = ("2024-11-05", "2025-06-18", "2025-11-25")
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
Exchange = Callable[[Any], Awaitable[Any]]
"""Sends a frame on a connection, and returns the next frame that arrives."""


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A fabric with both servers: its address, and its state folder."""
    state = tmp_path_factory.mktemp("batches")
    path = state / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"echo": ECHO, "mirror": MIRROR}, "defaultServer": "echo"}))
    with up(path, state) as process:
        yield process.url(), state


def message(method: str, id: object = None, **params: Any) -> dict[str, Any]:
    frame = {"jsonrpc": "2.0", "method": method, "params": params}
    return frame if id is None else frame | {"id": id}


def call(id: object, tool: str, **arguments: Any) -> dict[str, Any]:
    return message("tools/call", id, name=tool, arguments=arguments)


def initialize(version: str) -> dict[str, Any]:
    info = {"name": "raw", "version": "1"}
    return message("initialize", "open", protocolVersion=version, clientInfo=info, capabilities={})


def texts(answer: Any) -> dict[Any, str]:
    """The texts of an array of answers, by id."""
    assert isinstance(answer, list), answer
    return {each["id"]: text(each) for each in answer}


# ---------------------------------------------------------------- over HTTP
class HttpSession:
    """A session over HTTP in any revision."""

    def __init__(self, client: Client, version: str, path: str = "/mcp") -> None:
        self.client, self.version, self.path = client, version, path
        self.lines = dict(BOTH)

    async def open(self) -> HttpSession:
        reply = await self.post(initialize(self.version))
        self.lines["Mcp-Session-Id"] = reply.headers["mcp-session-id"]
        assert messages(reply)[-1]["result"]["protocolVersion"] == self.version
        assert (await self.post(INITIALIZED)).status == 202
        return self

    async def post(self, body: Any) -> Reply:
        return await self.client.ask("POST", self.path, self.lines, json.dumps(body).encode())


async def test_a_posted_batch_is_answered_with_an_array_of_all_answers(fabric: tuple[str, Path]) -> None:
    async with connections([fabric[0]]) as (client,):
        session = await HttpSession(client, REVISION).open()
        batch = [call(1, "echo", text="a"), message("x/noted"), call("1", "slow", seconds=0.2), call(2, "echo", text="c")]
        reply = await session.post(batch)
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json"), reply
        assert texts(reply.json) == {1: "a", "1": "waited 0.2 s", 2: "c"}
        reply = await session.post([call(3, "echo", text="alone")])
        assert texts(reply.json) == {3: "alone"}


async def test_a_posted_batch_without_requests_is_accepted(fabric: tuple[str, Path]) -> None:
    async with connections([fabric[0]]) as (client,):
        session = await HttpSession(client, REVISION, "/mirror/mcp").open()
        response = {"jsonrpc": "2.0", "id": "nobody asked", "result": {}}
        reply = await session.post([message("x/noted", n=1), response, message("x/noted", n=2)])
        assert (reply.status, reply.body) == (202, b"")
        answer = messages(await session.post(call(1, "received")))[-1]
        assert [each["params"]["n"] for each in answer["result"]["received"] if each.get("method") == "x/noted"] == [1, 2]


async def test_messages_before_the_answers_of_a_batch_arrive_on_its_stream(fabric: tuple[str, Path]) -> None:
    async with connections([fabric[0]] * 2) as (client, other):
        session = await HttpSession(client, REVISION, "/mirror/mcp").open()
        asking = call("asks", "ask", questions=[{"method": "ping"}])
        asking["params"]["_meta"] = {"progressToken": 7}
        stepping = call("steps", "progress", steps=2)
        stepping["params"]["_meta"] = {"progressToken": "7"}
        client.send("POST", session.path, session.lines, json.dumps([stepping, asking]).encode())
        assert (await client.head()).headers["content-type"] == "text/event-stream"
        stream = b""
        while b'"method":"ping"' not in stream.replace(b" ", b""):
            stream += await client.chunk()
        question = next(each for each in data(stream) if each.get("method") == "ping")
        answer = [{"jsonrpc": "2.0", "id": question["id"], "result": {"well": True}}]
        assert (await other.ask("POST", session.path, session.lines, json.dumps(answer).encode())).status == 202
        while piece := await client.chunk():
            stream += piece
        assert b"id:" not in stream, "a stream that cannot be resumed has no event ids"
        *before, last = data(stream)
        steps = [each["params"] for each in before if each["method"] == "notifications/progress"]
        assert [(each["progressToken"], each["progress"]) for each in steps] == [("7", 0), ("7", 1)]
        assert {each["id"]: each["result"].get("answers") for each in last} == {"steps": None, "asks": [{"well": True}]}


def data(stream: bytes) -> list[Any]:
    return [json.loads(line[5:]) for line in stream.splitlines() if line.startswith(b"data:")]


async def test_a_batch_is_refused_in_other_revisions_and_its_invalid_members_are_refused_singly(
    fabric: tuple[str, Path],
) -> None:
    async with connections([fabric[0]]) as (client,):
        for version in OTHERS:
            session = await HttpSession(client, version).open()
            refused = await session.post([call(1, "echo", text="a")])
            assert (refused.status, refused.json["error"]["code"]) == (400, jsonrpc.INVALID_REQUEST)
            assert REVISION in refused.json["error"]["message"]
        fresh = HttpSession(client, REVISION)
        modern = BOTH | {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call"}
        for body, lines in (([initialize(REVISION)], BOTH), ([call(1, "echo", text="a")], modern)):
            refused = await client.ask("POST", "/mcp", lines, json.dumps(body).encode())
            assert (refused.status, refused.json["error"]["code"]) == (400, jsonrpc.INVALID_REQUEST)
        session = await fresh.open()
        for body in ([], [call(1, "echo", text="a")] * (batches.MOST + 1)):
            refused = await session.post(body)
            assert (refused.status, refused.json["error"]["code"]) == (400, jsonrpc.INVALID_REQUEST)
        reply = await session.post([initialize(REVISION), call(1, "echo", text="a"), 7, {"jsonrpc": "1.0", "id": 5}])
        assert reply.status == 200
        answers = {each["id"] or "": each for each in reply.json}
        assert text(answers.pop(1)) == "a"
        assert {each["error"]["code"] for each in answers.values()} == {jsonrpc.INVALID_REQUEST}
        assert {"open", 5} <= set(answers)


async def test_a_batch_for_an_ended_session_is_not_found(fabric: tuple[str, Path]) -> None:
    async with connections([fabric[0]]) as (client,):
        session = await HttpSession(client, REVISION).open()
        assert (await client.ask("DELETE", "/mcp", session.lines)).status == 200
        for body in ([call(1, "echo", text="a"), call(2, "echo", text="b")], [message("x/noted")]):
            assert (await session.post(body)).status == 404


async def test_a_disconnect_during_a_batch_keeps_the_session(fabric: tuple[str, Path]) -> None:
    async with connections([fabric[0]] * 2) as (client, other):
        session = await HttpSession(client, REVISION).open()
        session.client.send("POST", "/mcp", session.lines, json.dumps([call(n, "slow", seconds=0.3) for n in (1, 2)]).encode())
        await client.writer.drain()
        client.writer.close()
        session.client = other
        reply = await session.post([call(3, "echo", text="here")])
        assert texts(reply.json) == {3: "here"}


# ---------------------------------------------------------------- on long links
async def conversation(exchange: Exchange, version: str) -> None:
    """The same steps on any long link."""
    opened = await exchange(initialize(version))
    assert opened["result"]["protocolVersion"] == version
    batch = [INITIALIZED, call(1, "slow", seconds=0.2), message("x/noted"), call("1", "echo", text="b"), 7]
    if version == REVISION:
        answers = {each["id"]: each for each in await exchange(batch)}
        assert (text(answers[1]), text(answers["1"])) == ("waited 0.2 s", "b")
        assert answers[None]["error"]["code"] == jsonrpc.INVALID_REQUEST
        cancelled = [call(2, "slow", seconds=30), call(3, "echo", text="c"), message("notifications/cancelled", requestId=2)]
        assert texts(await exchange(cancelled)) == {3: "c"}
    else:
        refused = await exchange(batch)
        assert (refused["id"], refused["error"]["code"]) == (None, jsonrpc.INVALID_REQUEST)
    assert text(await exchange(call(4, "echo", text="still here"))) == "still here"


@pytest.mark.parametrize("version", [REVISION, *OTHERS])
async def test_a_batch_over_a_websocket_is_answered_or_refused_by_revision(fabric: tuple[str, Path], version: str) -> None:
    address = fabric[0].replace("http", "ws")
    async with connect(f"{address}/ws", subprotocols=[Subprotocol("mcp")]) as socket, asyncio.timeout(20):

        async def exchange(frame: Any) -> Any:
            await socket.send(json.dumps(frame))
            return json.loads(await socket.recv())

        await conversation(exchange, version)


@pytest.mark.parametrize("version", [REVISION, "2025-06-18"])
async def test_a_batch_behind_an_unanswered_initialize_waits_for_its_answer(fabric: tuple[str, Path], version: str) -> None:
    address = fabric[0].replace("http", "ws")
    async with connect(f"{address}/ws", subprotocols=[Subprotocol("mcp")]) as socket, asyncio.timeout(20):
        for frame in (initialize(version), [INITIALIZED, call(1, "echo", text="a")], call(2, "slow", seconds=0.2)):
            await socket.send(json.dumps(frame))
        opened, batch, single = [json.loads(await socket.recv()) for _ in range(3)]
        assert opened["result"]["protocolVersion"] == version
        if version == REVISION:
            assert texts(batch) == {1: "a"}
        else:
            assert batch["error"]["code"] == jsonrpc.INVALID_REQUEST
        assert text(single) == "waited 0.2 s"


@pytest.mark.parametrize("version", [REVISION, "2025-06-18"])
async def test_a_batch_over_stdio_is_answered_or_refused_by_revision(fabric: tuple[str, Path], version: str) -> None:
    with Host("echo", state=fabric[1]) as host:

        async def exchange(frame: Any) -> Any:
            host.send(frame)
            return host.receive()

        await conversation(exchange, version)
        assert host.end()[:2] == (0, "")


# ---------------------------------------------------------------- from servers
BATCHING = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    method, id = message.get("method"), message.get("id")
    if method == "initialize":
        version = message["params"]["protocolVersion"]
        result = {"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "batching", "version": "1"}}
        print(json.dumps([{"jsonrpc": "2.0", "id": id, "result": result}]), flush=True)
    elif method == "tools/call":
        token = message["params"]["_meta"]["progressToken"]
        step = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}
        answer = {"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "batched"}]}}
        print("[INFO] two messages and a number follow", flush=True)
        print(json.dumps([step, 7, answer]), flush=True)
    elif id is not None:
        print(json.dumps({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}}), flush=True)
"""


async def test_a_batch_written_by_a_server_arrives_as_single_messages(tmp_path: Path, config: Write) -> None:
    path = config(batching={"command": sys.executable, "args": ["-c", BATCHING]})
    with up(path, tmp_path) as process:
        async with connections([process.url()]) as (client,):
            session = await HttpSession(client, REVISION, "/batching/mcp").open()
            body = request("tools/call", 1, name="x", arguments={}, _meta={"progressToken": "t"})
            reply = await client.ask("POST", session.path, session.lines, body)
            step, answer = messages(reply)
            assert (step["params"], text(answer)) == ({"progressToken": "t", "progress": 1}, "batched")

"""Messages pass unchanged, in order and to the right request: bytes, progress, cancellation, a server's own requests."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.contract.http_client import META, Client, modern, request
from tests.fabrics import up
from tests.integration.conftest import servers, until
from tests.integration.mcp_over_http import INITIALIZE, Session, call, connections, event, eventually, messages
from tests.integration.test_connect import Host

MIRROR = {"command": sys.executable, "args": ["-S", str(Path(__file__).with_name("mirror_server.py"))]}
UNUSUAL = (
    '{"z": 1.0,  "a":1e3, "big":123456789012345678901234567890, "small":-0.0, "precise":0.1000000000000000055511151231257827,'
    '"escaped":"\\u00e9\\/\\ud83d\\ude00\\u0000", "plain":"\u00e9\u2028\U0001f600", "half":"\\udcff", "empty":{"":[ ]},'
    '"twice":1, "twice":{"b":null,"a":true}, "id":"not an id", "method":7, "jsonrpc":"1.0", "text":"\\"id\\":1"}'
)
"""A JSON object that would change if it were decoded and encoded again."""

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    state = tmp_path_factory.mktemp("mirror")
    config = state / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"mirror": MIRROR}}))
    with up(config, state) as process:
        process.ready()
        until(lambda: servers(state)[0]["health"] == "healthy")
        yield process.url(), state


@pytest.fixture
async def client(fabric: tuple[str, Path]) -> AsyncIterator[Client]:
    async with connections([fabric[0]]) as (client,):
        yield client


async def received_by_server(client: Client | Session) -> list[Any]:
    """What the server process of this session, or of modern clients, has received: see mirror_server.received."""
    answer = await client.call("received", "received") if isinstance(client, Session) else await call(client, "received")
    entries: list[Any] = answer["result"]["received"]
    return entries


def server_id(entries: list[Any], tag: str) -> Any:
    """The id that the call with this tag has at the server; None until it has arrived."""
    return next((entry["id"] for entry in entries if entry.get("tag") == tag), None)


def cancelled(entries: list[Any]) -> list[Any]:
    """The ids of the requests that were cancelled."""
    return [entry["params"]["requestId"] for entry in entries if entry.get("method") == "notifications/cancelled"]


# ---------------------------------------------------------------- bytes
@pytest.mark.requirement("P08", "P02")
@pytest.mark.parametrize("method", ["tools/call", "x.example/an-extension"])
async def test_a_modern_request_reaches_the_server_as_it_was_written(client: Client, method: str) -> None:
    meta = json.dumps(META | {"x.example/y": [1.50]}).replace("1.5", "1.50")
    params = f'{{"name":"mirror","arguments":{UNUSUAL},"_meta":{meta}, "more":{UNUSUAL}}}'
    frame = f'{{"x":{UNUSUAL}, "params":{params},"method":"{method}","id":"7","jsonrpc":"2.0"}}'
    headers, _ = modern(method, name="mirror")
    answer = messages(await client.ask("POST", "/mcp", headers, frame.encode()))[-1]
    assert (answer["id"], answer["result"]["raw"]) == ("7", frame.replace('"7"', '"ID"', 1))


@pytest.mark.requirement("P08", "P01")
@pytest.mark.parametrize("token", ['"a token"', "7"])
async def test_a_legacy_request_reaches_the_server_as_it_was_written(client: Client, token: str) -> None:
    session = await Session.open(client)
    params = f'{{"_meta":{{"a":{UNUSUAL},"progressToken": {token} ,"b":2.0}},"name":"mirror","arguments":{UNUSUAL}}}'
    frame = f'{{"jsonrpc" :"2.0", "id": 70,"method":"tools/call","params":{params},"x":{UNUSUAL}}}'
    session.post(frame.encode())
    answer = messages(await client.reply())[-1]
    shown = frame.replace("70", '"ID"', 1).replace(f'"progressToken": {token}', '"progressToken": "ID"')
    assert (answer["id"], answer["result"]["raw"]) == (70, shown)


@pytest.mark.requirement("P08")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_result_reaches_the_client_as_it_was_written(client: Client, era: str) -> None:
    result = UNUSUAL.encode().decode("latin-1")
    if era == "modern":
        reply = await client.ask("POST", "/mcp", *modern("tools/call", 7, name="verbatim", arguments={"result": result}))
    else:
        session = await Session.open(client)
        session.post(request("tools/call", 7, name="verbatim", arguments={"result": result}))
        reply = await client.reply()
    assert reply.body == b'{"jsonrpc":"2.0","id":7,"result":%b}' % UNUSUAL.encode()


@pytest.mark.requirement("P01", "P08")
async def test_notifications_of_any_kind_reach_the_server_in_order(client: Client) -> None:
    session = await Session.open(client)
    sent = [{"jsonrpc": "2.0", "method": "x.example/note", "params": {"n": n, "f": 1.5}} for n in range(50)]
    assert {await session.send(note) for note in sent} == {202}
    assert [note for note in await received_by_server(session) if note.get("method") == "x.example/note"] == sent


# ---------------------------------------------------------------- progress
@pytest.mark.requirement("P05", "D05")
@pytest.mark.parametrize("token", ["a token", 7, "7"])
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_progress_comes_in_order_under_its_own_token_and_none_after_the_response(
    fabric: tuple[str, Path], era: str, token: object
) -> None:
    steps = 100
    async with connections([fabric[0]] * 8) as clients:

        async def progress(client: Client) -> list[Any]:
            """The messages of a call, and then those of the next call on the same connection."""
            params = {"name": "progress", "arguments": {"steps": steps}, "_meta": {"progressToken": token}}
            if era == "modern":
                first = messages(await client.ask("POST", "/mcp", *modern("tools/call", **params)))
                return [*first, await call(client, "received", "next")]
            session = await Session.open(client)
            session.post(request("tools/call", **params))
            first = messages(await client.reply())
            session.post(request("tools/call", "next", name="received"))
            return [*first, *messages(await client.reply())]

        for received in await asyncio.gather(*(progress(client) for client in clients)):
            assert [message["params"]["progress"] for message in received[:-2]] == list(range(steps))
            tokens = [message["params"]["progressToken"] for message in received[:-2]]
            assert (set(tokens), {type(each) for each in tokens}) == ({token}, {type(token)})
            assert [message.get("id") for message in received[-2:]] == [1, "next"]


# ---------------------------------------------------------------- cancellation
@pytest.mark.requirement("P06", "P01")
async def test_a_legacy_cancel_over_http_reaches_the_server_for_the_right_one_of_two_calls(fabric: tuple[str, Path]) -> None:
    async with connections([fabric[0]] * 3) as (first, second, third):
        session = await Session.open(third)
        session.at(first).post(request("tools/call", 7, name="wait", arguments={"tag": "number"}))
        session.at(second).post(request("tools/call", "7", name="wait", arguments={"tag": "string"}))
        await eventually(
            lambda: received_by_server(session),
            lambda entries: bool(server_id(entries, "number") and server_id(entries, "string")),
        )
        assert await session.notify("notifications/cancelled", requestId="7", reason="enough") == 202
        entries = await received_by_server(session)
        assert cancelled(entries) == [server_id(entries, "string")]
        assert (
            next(entry for entry in entries if "params" in entry and "reason" in entry["params"])["params"]["reason"]
            == "enough"
        )
        assert messages(await second.reply()) == []
        assert await session.notify("notifications/cancelled", requestId=7) == 202
        assert messages(await first.reply()) == []


@pytest.mark.requirement("P06", "P02")
async def test_a_disconnect_cancels_a_modern_call_and_not_a_legacy_one(fabric: tuple[str, Path]) -> None:
    async with connections([fabric[0]] * 4) as (modern_one, legacy_one, observer, other):
        session = await Session.open(other)
        session.at(legacy_one).post(request("tools/call", 7, name="wait", arguments={"tag": "legacy"}))
        modern_one.send("POST", "/mcp", *modern("tools/call", 7, name="wait", arguments={"tag": "modern"}))
        await eventually(lambda: received_by_server(observer), lambda entries: server_id(entries, "modern"))
        await eventually(lambda: received_by_server(session), lambda entries: server_id(entries, "legacy"))
        legacy_one.writer.transport.abort()
        modern_one.writer.transport.abort()
        await eventually(
            lambda: received_by_server(observer), lambda entries: server_id(entries, "modern") in cancelled(entries)
        )
        assert cancelled(await received_by_server(session)) == []
        assert await session.notify("notifications/cancelled", requestId=7) == 202
        entries = await received_by_server(session)
        assert cancelled(entries) == [server_id(entries, "legacy")]


@pytest.mark.requirement("P06", "L06")
async def test_closing_a_websocket_cancels_its_modern_calls(fabric: tuple[str, Path], client: Client) -> None:
    async with connect(fabric[0].replace("http", "ws") + "/mirror/ws") as leaving:
        params = {"name": "wait", "arguments": {"tag": "websocket"}, "_meta": META}
        await leaving.send(request("tools/call", 7, **params), text=True)
        await eventually(lambda: received_by_server(client), lambda entries: server_id(entries, "websocket"))
    await eventually(lambda: received_by_server(client), lambda entries: server_id(entries, "websocket") in cancelled(entries))


@pytest.mark.requirement("P06", "P01")
@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_a_cancel_over_stdio_reaches_the_server_for_the_right_call(fabric: tuple[str, Path], era: str) -> None:
    with Host("mirror", state=fabric[1]) as host:

        def send(id: object, method: str, **params: Any) -> None:
            meta = {"_meta": META} if era == "modern" else {}
            host.send({"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, **meta}})

        if era == "legacy":
            send(0, "initialize", **INITIALIZE, capabilities={})
            assert host.receive()["id"] == 0
            host.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        mine = f"{era} over stdio"
        for id in (7, "7"):
            send(id, "tools/call", name="wait", arguments={"tag": f"{mine} {id!r}"})
        entries: list[Any] = []
        while server_id(entries, f"{mine} '7'") is None or server_id(entries, f"{mine} 7") is None:
            send("received", "tools/call", name="received", arguments={})
            entries = host.receive()["result"]["received"]
        large = "x" * (9 * 2**20 if era == "modern" else 9)  # more than the broker carries: the reason is left out
        host.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7, "reason": large}})
        while server_id(entries, f"{mine} 7") not in cancelled(entries):
            send("received", "tools/call", name="received", arguments={})
            entries = host.receive()["result"]["received"]
        assert server_id(entries, f"{mine} '7'") not in cancelled(entries)


# ---------------------------------------------------------------- requests of a server
QUESTIONS = [
    {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 5, "x": 1.0}},
    {"method": "elicitation/create", "params": {"message": "who?", "requestedSchema": {"type": "object", "properties": {}}}},
    {"method": "roots/list"},
    {"method": "ping"},
    {"method": "x.example/question", "params": {"b": 1, "a": [2]}},
]
ANSWERS: list[dict[str, Any]] = [
    {"result": {"role": "assistant", "content": {"type": "text", "text": "hi"}, "model": "m", "_meta": {"x": 1.5}}},
    {"result": {"action": "accept", "content": {"name": "me"}}},
    {"result": {"roots": [{"uri": "file:///x"}]}},
    {"result": {}},
    {"error": {"code": -32601, "message": "Method not entries", "data": {"b": 1}}},
]
ABLE = {"sampling": {}, "elicitation": {}, "roots": {"listChanged": True}}


def question(message: dict[str, Any]) -> dict[str, Any]:
    """The method and params of a server's request."""
    return {key: message[key] for key in ("method", "params") if message.get(key)}


@pytest.mark.requirement("P01", "D05")
async def test_a_server_asks_its_client_over_the_stream_of_the_call_and_gets_the_answers(fabric: tuple[str, Path]) -> None:
    async with connections([fabric[0]] * 2) as (client, answering):
        session = await Session.open(client, capabilities=ABLE)
        session.post(request("tools/call", name="ask", arguments={"questions": QUESTIONS}))
        assert (await client.head()).headers["content-type"] == "text/event-stream"
        asked = [await event(client) for _ in QUESTIONS]
        assert [question(message) for message in asked] == QUESTIONS
        for message, answer in reversed(list(zip(asked, ANSWERS, strict=True))):
            assert await session.at(answering).send({"id": message["id"], **answer}) == 202
        answers = (await event(client))["result"]["answers"]
        assert answers == [next(iter(answer.values())) for answer in ANSWERS]


@pytest.mark.requirement("P01", "D05")
def test_a_server_asks_its_client_over_stdio_and_gets_the_answers(fabric: tuple[str, Path]) -> None:
    with Host("mirror", state=fabric[1]) as host:
        host.send({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {**INITIALIZE, "capabilities": ABLE}})
        assert host.receive()["id"] == 0
        host.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        params = {"name": "ask", "arguments": {"questions": QUESTIONS}}
        host.send({"jsonrpc": "2.0", "id": 0, "method": "tools/call", "params": params})
        asked = [host.receive() for _ in QUESTIONS]
        assert [question(message) for message in asked] == QUESTIONS
        for message, answer in zip(asked, ANSWERS, strict=True):
            host.send({"jsonrpc": "2.0", "id": message["id"], **answer})
        assert host.receive()["result"]["answers"] == [next(iter(answer.values())) for answer in ANSWERS]

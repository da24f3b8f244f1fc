"""Bad input of every kind over HTTP, end to end: each gets its error, and other clients are served meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fabric.security.seal import SessionSealer, SessionToken
from fabric.security.secret import Keyring
from tests.contract.http_client import BOTH, Client, Reply, modern, request
from tests.fabrics import Process, up
from tests.integration.conftest import ECHO
from tests.integration.mcp_over_http import VERSION, Session, call, connections, messages, reason, text

CALLS = 1000
LIMIT = 65_536
"""The largest message of this fabric, in bytes."""

pytestmark = [pytest.mark.requirement("P12"), pytest.mark.timeout(240)]


def frame(**changed: Any) -> bytes:
    """A legacy tools/list with some of its fields changed."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}} | changed).encode()


DEEP = 30_000
MALFORMED: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", -32700),
    "half an object": (frame()[:-1], -32700),
    "two objects": (frame() * 2, -32700),
    "bytes that are not UTF-8": (frame(x="?").replace(b"?", b"\xff\xfe"), -32700),
    "a NUL byte": (frame(x="?").replace(b"?", b"\0"), -32700),
    "an escape of no character": (frame(x="?").replace(b"?", b"\\x"), -32700),
    "nesting without an end": (b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":' + b"[" * DEEP, -32700),
    "nesting too deep": (frame(params="?").replace(b'"?"', b'{"x":' + b"[" * DEEP + b"]" * DEEP + b"}"), -32700),
    "an array": (b"[" + frame() + b"]", -32600),
    "a number": (b"7", -32600),
    "no method, result or error": (b'{"jsonrpc":"2.0","id":1}', -32600),
    "another JSON-RPC": (frame(jsonrpc="1.0"), -32600),
    "a method that is a number": (frame(method=7), -32600),
    "an id that is null": (frame(id=None), -32600),
    "an id that is an object": (frame(id={}), -32600),
    "an id that is a fraction": (frame(id=1.5), -32600),
    "an id that is true": (frame(id=True), -32600),
    "an id in a key that is escaped": (frame().replace(b'"id"', b'"\\u0069d"'), -32600),
    "an id that is half a surrogate pair": (frame(id="\ud800"), -32600),
    "params that are an array": (frame(params=[1]), -32602),
    "params that are a number": (frame(params=7), -32602),
    "_meta that is a string": (frame(params={"_meta": "x"}), -32602),  # refused by the server
    "a progress token in a key that is escaped": (
        frame(params={"_meta": {"?": 1}}).replace(b"?", b"progressTok\\u0065n"),
        -32600,
    ),
}
ACCEPTED: dict[str, tuple[bytes, Any]] = {
    "an id given twice is the last one": (frame().replace(b'"id": 1', b'"id": 5, "id": 6'), 6),
    "an id of thousands of digits": (frame(id="?").replace(b'"?"', b"9" * 4000), int("9" * 4000)),
    "an id of thousands of characters": (frame(id="x" * 30_000), "x" * 30_000),
    "an id with a NUL character": (frame(id="\0"), "\0"),
    "half a surrogate pair": (frame(params={"cursor": "\udcff"}), 1),
    "an id inside of params": (frame(params={"id": 5, "cursor": '"id":9'}), 1),
    "white space wherever it may be": (frame(id=3).replace(b" ", b" \n\t"), 3),
    "a progress token that is an object": (frame(params={"_meta": {"progressToken": {}}}), 1),
    "a byte order mark": (b"\xef\xbb\xbf" + frame(id=8), 8),
    "unknown fields": (frame(id=4, more={"id": [5]}, zzz=None), 4),
}
GARBAGE = (
    b"\x00\x01\x02\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 100 + b"\r\n\r\n",  # a ClientHello of TLS
    b"POST /mcp HTTP/1.1\r\nHost localhost\r\n\r\n",
    b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
    b"POST /mcp HTTP/9.9\r\n\r\n",
    b"\r\n" * 10_000 + b"x\r\n\r\n",
)


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    state = tmp_path_factory.mktemp("bad")
    config = state / "mcp.json"
    settings = {"mcpServers": {"echo": ECHO, "other": ECHO}, "defaultServer": "echo", "fabric": {"maxFrameBytes": LIMIT}}
    config.write_text(json.dumps(settings))
    with up(config, state) as process:
        process.ready()
        yield process


@pytest.fixture
async def client(fabric: Process) -> AsyncIterator[Client]:
    async with connections([fabric.url()]) as (client,):
        yield client


def error(reply: Reply) -> tuple[int, int]:
    """The HTTP status and the JSON-RPC code of a refusal."""
    return reply.status, reply.json["error"]["code"]


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_malformed_message_gets_its_error_and_its_session_survives(client: Client, what: str) -> None:
    body, code = MALFORMED[what]
    session = await Session.open(client)
    session.post(body)
    reply = await client.reply()
    assert (reply.json["error"]["code"], "result" in reply.json) == (code, False), reply.body
    assert reply.json["id"] in (None, 1)
    assert text(await session.call("echo", text="alive")) == "alive"


@pytest.mark.parametrize("what", ACCEPTED)
async def test_an_unusual_but_valid_message_is_answered(client: Client, what: str) -> None:
    body, id = ACCEPTED[what]
    session = await Session.open(client)
    session.post(body)
    answer = messages(await client.reply())[-1]
    assert answer["id"] == id
    assert answer["result"]["tools"]


async def test_a_modern_request_whose_headers_do_not_match_is_refused(client: Client) -> None:
    headers, body = modern("tools/call", name="echo", arguments={"text": "x"})
    wrong = (
        headers | {"Mcp-Method": "tools/list"},
        headers | {"Mcp-Name": "add"},
        headers | {"Mcp-Name": "=?base64?!!!?="},
        headers | {"Mcp-Name": "\u00e9"},
        {key: value for key, value in headers.items() if key != "Mcp-Name"},
        {key: value for key, value in headers.items() if key != "Mcp-Method"},
        headers | {"MCP-Protocol-Version": "2027-01-01"},
    )
    for lines in wrong:
        assert error(await client.ask("POST", "/mcp", lines, body)) == (400, -32020)
    surrogate = body.replace(b'"name": "echo"', b'"name": "\\ud800"')
    assert error(await client.ask("POST", "/mcp", headers, surrogate)) == (400, -32020)
    unknown = body.replace(b"2026-07-28", b"2027-01-01")
    lines = headers | {"MCP-Protocol-Version": "2027-01-01"}
    assert error(await client.ask("POST", "/mcp", lines, unknown)) == (400, -32022)
    assert text(await call(client, "echo", text="alive")) == "alive"


async def test_an_invalid_http_request_is_refused_with_its_status(client: Client) -> None:
    cases = (
        ("POST", "/mcp", BOTH | {"Content-Type": "text/plain"}, 415),
        ("POST", "/mcp", BOTH | {"Content-Encoding": "gzip"}, 415),
        ("POST", "/mcp", BOTH | {"Accept": "text/html"}, 406),
        ("POST", "/mcp", BOTH, 400),
        ("POST", "/mcp", BOTH | {"MCP-Protocol-Version": "2020-01-01"}, 400),
        ("POST", "/nowhere/mcp", BOTH, 404),
        ("POST", "/%ff/mcp", BOTH, 404),
        ("POST", "/mcp//", BOTH, 404),
        ("PATCH", "/mcp", BOTH, 405),
    )
    for method, path, headers, status in cases:
        reply = await client.ask(method, path, headers, request("tools/list"))
        assert (reply.status, reply.json["error"]["data"]["retryable"]) == (status, False), (method, path, headers)


@pytest.mark.requirement("D09")
async def test_an_oversized_message_is_refused_with_the_limit_and_the_connection_survives(client: Client) -> None:
    session = await Session.open(client)
    for padding in (LIMIT, 8 * LIMIT):
        session.post(frame(padding="x" * padding))
        reply = await client.reply()
        assert (reply.status, reason(reply.json)) == (413, "too_large")
        assert str(LIMIT) in reply.json["error"]["message"]
        assert text(await session.call("echo", text="alive")) == "alive"


@pytest.mark.requirement("D09", "S10")
async def test_a_session_id_that_this_fabric_did_not_issue_for_this_server_is_session_lost(client: Client) -> None:
    session = await Session.open(client)
    token = SessionToken(
        fabric="default", session="x", owner="x", server="echo", version=VERSION, client="{}", capabilities="{}", principal="",
        expires=time.time() + 60,
    )  # fmt: skip
    foreign = SessionSealer(Keyring([b"another secret of sixteen bytes"]), "default").seal(token)
    altered = [
        session.id[:at] + ("A" if session.id[at] != "A" else "B") + session.id[at + 1 :] for at in range(0, len(session.id), 7)
    ]
    for id in ("s1", foreign, session.id[:-1], session.id + "A", session.id * 2, "x" * 8000, "\u00e9", *altered):
        for method, body in (("POST", frame()), ("GET", None), ("DELETE", None)):
            reply = await client.ask(method, "/mcp", session.headers | {"Mcp-Session-Id": id}, body)
            assert (reply.status, reason(reply.json)) == (404, "session_lost"), id
    assert (await client.ask("POST", "/other/mcp", session.headers, frame())).status == 404
    assert text(await session.call("echo", text="alive")) == "alive"


async def test_notifications_and_responses_about_unknown_requests_are_accepted_and_ignored(client: Client) -> None:
    session = await Session.open(client)
    for message in (
        {"method": "notifications/cancelled"},
        {"method": "notifications/cancelled", "params": {"requestId": 99}},
        {"method": "notifications/cancelled", "params": {"requestId": {"a": [None]}}},
        {"method": "notifications/progress", "params": {"progressToken": "nobody's", "progress": 1}},
        {"method": "notifications/of/an/extension", "params": {"x": 1}},
        {"id": "e0-99", "result": {}},
        {"id": 99, "error": {"code": 1, "message": "no"}},
    ):
        assert await session.send(message) == 202, message
    assert text(await session.call("echo", text="alive")) == "alive"


async def abuse(address: str) -> None:
    """Send malformed messages, bytes that are not HTTP, and requests that never end."""
    silent = [await Client.open(address) for _ in range(20)]
    for number, half in enumerate(silent):
        headers, body = modern("tools/list")
        half.send("POST", "/mcp", headers, body + b" " * 100)
        if number % 3 == 0:
            half.write(b"POST /mcp HTTP/1.1\r\nHost: local")  # and nothing more
        elif number % 3 == 1:
            half.send("POST", "/mcp", BOTH | {"Content-Length": "100"}, b"{")
            half.writer.write_eof()
        else:
            half.writer.transport.abort()
    for garbage in GARBAGE:
        async with connections([address]) as (client,):
            client.write(garbage)
            assert (await client.reply()).status == 400, garbage
            await client.closed()
    for body, code in MALFORMED.values():
        async with connections([address]) as (client,):
            reply = await client.ask("POST", "/mcp", modern("tools/list")[0], body)
            assert reply.json["error"]["code"] in {code, -32600, -32602, -32020, -32700}, body
    for half in silent:
        half.writer.close()


async def test_other_clients_are_served_during_a_flood_of_bad_input(fabric: Process) -> None:
    over, rounds = asyncio.Event(), 0

    async def abusing() -> None:
        nonlocal rounds
        while not over.is_set():
            await abuse(fabric.url())
            rounds += 1

    async with connections([fabric.url()] * 2) as (modern_client, legacy_client):
        session = await Session.open(legacy_client)
        abusing_task = asyncio.create_task(abusing())
        id = 0
        while id < CALLS // 2 or rounds < 3:
            id += 1
            answers = await asyncio.gather(
                call(modern_client, "echo", id, text=str(id)), session.call("echo", id, text=str(id))
            )
            assert [(answer["id"], text(answer)) for answer in answers] == [(id, str(id))] * 2
        over.set()
        await asyncio.wait_for(abusing_task, 40)
        live = await modern_client.ask("GET", "/livez", {})
        assert (live.status, live.json) == (200, {"status": "live"})
    log = fabric.log.read_text(errors="replace")
    assert "Traceback" not in log, log
    assert fabric.stop() == 0

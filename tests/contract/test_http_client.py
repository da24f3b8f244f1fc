"""A remote MCP server is a link: what it is sent over HTTP, and what its answers mean, in both eras."""

from __future__ import annotations

import asyncio
import json

import pytest

from fabric.errors import EndOfLink, LinkClosed
from fabric.faults import Reason
from fabric.links.registry import connect
from fabric.links.settings import ConnectSettings
from tests.contract.http_server import (
    WAIT,
    Upstream,
    answer,
    ended,
    frame,
    initialize,
    lost,
    modern,
    received,
    result,
    session,
)

BOTH = "application/json, text/event-stream"


# ---------------------------------------------------------------- modern requests
async def test_a_modern_request_is_a_post_whose_headers_mirror_it() -> None:
    async with Upstream() as upstream:
        link = await upstream.link(headers=(("Authorization", "Bearer s3cret"),))
        link.send(modern("x1", name="föö", arguments={}))
        asked = await upstream.asked()
        assert (asked.method, asked.path, asked.body) == ("POST", "/mcp", modern("x1", name="föö", arguments={}))
        said = {name: asked.headers[name] for name in ("accept", "content-type", "authorization", "mcp-protocol-version")}
        assert list(said.values()) == [BOTH, "application/json", "Bearer s3cret", "2026-07-28"]
        assert (asked.headers["mcp-method"], asked.headers["mcp-name"]) == ("tools/call", "=?base64?ZsO2w7Y=?=")
        asked.result(ok=True)
        assert (await answer(link, "x1"))["result"] == {"ok": True}


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ((), ("Basic dXNlcjpzM2NyZXQ=", "mcp-transport-fabric")),
        ((("authorization", "Bearer s3cret"), ("user-agent", "mine")), ("Bearer s3cret", "mine")),
    ],
)
async def test_a_user_in_the_url_is_told_by_basic_unless_a_header_says_who_asks(
    headers: tuple[tuple[str, str], ...], sent: tuple[str, str]
) -> None:
    async with Upstream() as upstream:
        url = upstream.url.replace("://", "://user:s3cret@")
        link = await connect(url, ConnectSettings(headers=headers), id="a#1")
        link.send(modern("x1"))
        asked = await upstream.asked()
        assert (asked.headers["authorization"], asked.headers["user-agent"]) == sent
        assert "s3cret" not in link.info.peer
        asked.result()
        await answer(link, "x1")
        await link.aclose()


async def test_requests_run_side_by_side_and_each_gets_its_own_answer() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        for number in range(10):
            link.send(modern(f"x{number}"))
        asked = [await upstream.asked() for _ in range(10)]
        for each in reversed(asked):
            each.result(of=each.id)
        found = [json.loads((await received(link)).frame) for _ in range(10)]
        assert {each["id"]: each["result"]["of"] for each in found} == {f"x{number}": f"x{number}" for number in range(10)}


async def test_events_come_as_they_are_sent_however_they_are_cut() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1"))
        asked = await upstream.asked()
        asked.stream(b"\xef\xbb\xbf: hello\r\n\r\nid: 1\r\ndata:\r\n\r\n")
        progress = frame(None, "notifications/progress", progress=1)
        for byte in b"event: message\r\ndata: " + progress + b"\r\n\r":
            asked.event(bytes([byte]))
        assert (await received(link)).frame == progress
        asked.event(b'\nevent: else\ndata: {}\n\ndata: {"jsonrpc":"2.0",\ndata: "id":"x1","result":{}}\n\n')
        assert (await received(link)).frame == b'{"jsonrpc":"2.0",\n"id":"x1","result":{}}'
        asked.end()


async def test_an_array_of_messages_is_taken_apart() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1"))
        (await upstream.asked()).answer(200, b"[" + frame(None, "notifications/message") + b"," + result("x1") + b"]")
        assert (await received(link)).method == "notifications/message"
        await answer(link, "x1")


async def test_a_cancel_closes_the_stream_of_the_modern_request_it_names_and_no_other() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1"))
        link.send(modern("x2", "subscriptions/listen"))
        first, second = sorted([await upstream.asked(), await upstream.asked()], key=lambda asked: asked.id)
        second.stream(b": open\n\n")
        link.send(frame(None, "notifications/cancelled", requestId="x1"))
        await first.left()
        second.event(b"data: " + frame(None, "notifications/tools/list_changed") + b"\n\n")
        assert (await received(link)).method == "notifications/tools/list_changed"
        link.send(frame(None, "notifications/cancelled", requestId="x2"))
        await second.left()
        assert upstream.open == 0


SCHEMA = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "n": {"x-mcp-header": "N"}}}


async def test_arguments_are_mirrored_in_headers_once_the_list_of_tools_has_passed() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1", "tools/list"))
        (await upstream.asked()).result(tools=[{"name": "sql", "inputSchema": SCHEMA}])
        await answer(link, "x1")
        link.send(modern("x2", name="sql", arguments={"region": "us west ", "n": 3}))
        asked = await upstream.asked()
        assert (asked.headers["mcp-param-region"], asked.headers["mcp-param-n"]) == ("=?base64?dXMgd2VzdCA=?=", "3")


async def test_a_call_refused_for_its_headers_is_made_again_with_what_the_list_of_tools_asks() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1", name="sql", arguments={"region": "eu"}))
        error = {"jsonrpc": "2.0", "id": "x1", "error": {"code": -32020, "message": "Header mismatch"}}
        (await upstream.asked()).answer(400, json.dumps(error).encode())
        listing = await upstream.asked()
        assert listing.headers["mcp-method"] == "tools/list"
        listing.result(tools=[{"name": "sql", "inputSchema": SCHEMA}])
        again = await upstream.asked()
        assert (again.headers["mcp-param-region"], again.id) == ("eu", "x1")
        again.answer(400, json.dumps(error).encode())
        assert (await answer(link, "x1"))["error"]["code"] == -32020


# ---------------------------------------------------------------- sessions
async def test_what_follows_a_notification_waits_until_that_is_accepted() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(initialize())
        link.send(frame(None, "notifications/initialized"))
        link.send(frame("x1", "tools/list"))
        link.send(frame("x2", "tools/list"))
        opening = await upstream.asked()
        await asyncio.sleep(0.05)
        assert upstream.connections == 1
        opening.answer(200, result("open", protocolVersion="2025-11-25"))
        accepting = await upstream.asked()
        assert accepting.json["method"] == "notifications/initialized"
        await asyncio.sleep(0.05)
        assert upstream.open == 1
        accepting.answer(202)
        assert {(await upstream.asked()).id, (await upstream.asked()).id} == {"x1", "x2"}


async def test_a_sessions_own_stream_brings_requests_and_is_resumed_where_it_broke() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        stream = await session(upstream, link)
        stream.stream(b"retry: 10\n\nid: e-7\ndata: " + frame("q", "roots/list") + b"\n\nid: e-8\ndata: cut o")
        assert (await received(link)).method == "roots/list"
        link.send(result("q", roots=[]))
        replied = await upstream.asked()
        assert replied.body == result("q", roots=[])
        replied.answer(202)
        stream.drop()
        stream = await upstream.asked()
        assert stream.headers["last-event-id"] == "e-7"
        stream.stream(b"id: e-8\ndata: " + frame(None, "notifications/message") + b"\n\n")
        assert (await received(link)).method == "notifications/message"


@pytest.mark.parametrize(("status", "kind"), [(405, "text/plain"), (404, "text/plain"), (200, "text/html"), (302, "text/html")])
async def test_a_server_without_such_a_stream_is_not_asked_again(status: int, kind: str) -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        (await session(upstream, link)).answer(status, b"no", kind)
        link.send(frame("x1", "tools/list"))
        (await upstream.asked()).result()
        await answer(link, "x1")


async def test_a_request_whose_stream_breaks_gets_its_answer_from_where_it_broke() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        (await session(upstream, link)).answer(405)
        link.send(frame("x1", "tools/call"))
        asked = await upstream.asked()
        asked.stream(b"id: a-0\nretry: 10\ndata:\n\n")
        asked.end()
        for reply in (lambda polled: polled.end(), lambda polled: polled.drop(), None):
            polled = await upstream.asked()
            assert (polled.method, polled.headers["last-event-id"]) == ("GET", "a-0")
            polled.stream()
            if reply is not None:
                reply(polled)
        polled.event(b"data: " + result("x1", late=True) + b"\n\n")
        polled.end()
        assert (await answer(link, "x1"))["result"] == {"late": True}


async def test_a_cancelled_request_of_a_session_is_told_to_the_server_and_let_go() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        (await session(upstream, link)).answer(405)
        link.send(frame("x1", "tools/call"))
        asked = await upstream.asked()
        link.send(frame(None, "notifications/cancelled", requestId="x1"))
        told = await upstream.asked()
        assert told.json["params"]["requestId"] == "x1"
        told.answer(202)
        await asked.left()


@pytest.mark.parametrize("status", [404, 400])
async def test_a_session_that_the_server_has_forgotten_ends_and_the_call_was_surely_not_run(status: int) -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        (await session(upstream, link)).answer(405)
        link.send(frame("x1", "tools/call"))
        error = {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "No valid session"}}
        (await upstream.asked()).answer(status, json.dumps(error).encode())
        instead = await lost(link, "x1")
        assert (instead.fault.reason, instead.fault.retryable, instead.started) == (Reason.SESSION_LOST, True, False)
        assert isinstance(await ended(link), EndOfLink)


async def test_closing_ends_the_session_at_the_server() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        stream = await session(upstream, link)
        closing = asyncio.create_task(link.aclose())
        await stream.left()
        farewell = await upstream.asked()
        assert (farewell.method, farewell.headers["mcp-session-id"]) == ("DELETE", "s-1")
        farewell.answer(405)
        await asyncio.wait_for(closing, WAIT)
        assert isinstance(await ended(link), LinkClosed)

"""A link to a remote HTTP server: the requests that it sends, and the messages that its answers become, in both eras."""

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
async def test_a_modern_request_is_posted_with_headers_that_mirror_it() -> None:
    async with Upstream() as upstream:
        link = await upstream.link(headers=(("Authorization", "Bearer s3cret"),))
        link.send(modern("x1", name="föö", arguments={}))
        posted = await upstream.next_request()
        assert (posted.method, posted.path, posted.body) == ("POST", "/mcp", modern("x1", name="föö", arguments={}))
        headers = {name: posted.headers[name] for name in ("accept", "content-type", "authorization", "mcp-protocol-version")}
        assert list(headers.values()) == [BOTH, "application/json", "Bearer s3cret", "2026-07-28"]
        assert (posted.headers["mcp-method"], posted.headers["mcp-name"]) == ("tools/call", "=?base64?ZsO2w7Y=?=")
        posted.result(ok=True)
        assert (await answer(link, "x1"))["result"] == {"ok": True}


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ((), ("Basic dXNlcjpzM2NyZXQ=", "mcp-transport-fabric")),
        ((("authorization", "Bearer s3cret"), ("user-agent", "mine")), ("Bearer s3cret", "mine")),
    ],
)
async def test_credentials_in_the_url_become_basic_authorization_unless_a_header_sets_it(
    headers: tuple[tuple[str, str], ...], sent: tuple[str, str]
) -> None:
    async with Upstream() as upstream:
        url = upstream.url.replace("://", "://user:s3cret@")
        link = await connect(url, ConnectSettings(headers=headers), id="a#1")
        link.send(modern("x1"))
        posted = await upstream.next_request()
        assert (posted.headers["authorization"], posted.headers["user-agent"]) == sent
        assert "s3cret" not in link.info.peer
        posted.result()
        await answer(link, "x1")
        await link.aclose()


async def test_concurrent_requests_each_get_their_own_answer() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        for number in range(10):
            link.send(modern(f"x{number}"))
        posted = [await upstream.next_request() for _ in range(10)]
        for each in reversed(posted):
            each.result(of=each.id)
        answers = [json.loads((await received(link)).frame) for _ in range(10)]
        assert {each["id"]: each["result"]["of"] for each in answers} == {f"x{number}": f"x{number}" for number in range(10)}


async def test_events_are_decoded_however_the_stream_is_split() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1"))
        posted = await upstream.next_request()
        posted.stream(b"\xef\xbb\xbf: hello\r\n\r\nid: 1\r\ndata:\r\n\r\n")
        progress = frame(None, "notifications/progress", progress=1)
        for byte in b"event: message\r\ndata: " + progress + b"\r\n\r":
            posted.event(bytes([byte]))
        assert (await received(link)).frame == progress
        posted.event(b'\nevent: else\ndata: {}\n\ndata: {"jsonrpc":"2.0",\ndata: "id":"x1","result":{}}\n\n')
        assert (await received(link)).frame == b'{"jsonrpc":"2.0",\n"id":"x1","result":{}}'
        posted.end()


async def test_an_array_of_messages_is_split_into_messages() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1"))
        (await upstream.next_request()).answer(200, b"[" + frame(None, "notifications/message") + b"," + result("x1") + b"]")
        assert (await received(link)).method == "notifications/message"
        await answer(link, "x1")


async def test_cancelling_a_modern_request_closes_only_its_own_stream() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1"))
        link.send(modern("x2", "subscriptions/listen"))
        first, second = sorted([await upstream.next_request(), await upstream.next_request()], key=lambda posted: posted.id)
        second.stream(b": open\n\n")
        link.send(frame(None, "notifications/cancelled", requestId="x1"))
        await first.disconnected()
        second.event(b"data: " + frame(None, "notifications/tools/list_changed") + b"\n\n")
        assert (await received(link)).method == "notifications/tools/list_changed"
        link.send(frame(None, "notifications/cancelled", requestId="x2"))
        await second.disconnected()
        assert upstream.open == 0


SCHEMA = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "n": {"x-mcp-header": "N"}}}


async def test_arguments_are_mirrored_in_headers_once_the_tool_list_is_known() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1", "tools/list"))
        (await upstream.next_request()).result(tools=[{"name": "sql", "inputSchema": SCHEMA}])
        await answer(link, "x1")
        link.send(modern("x2", name="sql", arguments={"region": "us west ", "n": 3}))
        posted = await upstream.next_request()
        assert (posted.headers["mcp-param-region"], posted.headers["mcp-param-n"]) == ("=?base64?dXMgd2VzdCA=?=", "3")


async def test_a_call_refused_for_missing_headers_is_retried_after_fetching_the_tool_list() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1", name="sql", arguments={"region": "eu"}))
        error = {"jsonrpc": "2.0", "id": "x1", "error": {"code": -32020, "message": "Header mismatch"}}
        (await upstream.next_request()).answer(400, json.dumps(error).encode())
        listing = await upstream.next_request()
        assert listing.headers["mcp-method"] == "tools/list"
        listing.result(tools=[{"name": "sql", "inputSchema": SCHEMA}])
        again = await upstream.next_request()
        assert (again.headers["mcp-param-region"], again.id) == ("eu", "x1")
        again.answer(400, json.dumps(error).encode())
        assert (await answer(link, "x1"))["error"]["code"] == -32020


# ---------------------------------------------------------------- sessions
async def test_messages_after_a_notification_wait_until_it_is_accepted() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(initialize())
        link.send(frame(None, "notifications/initialized"))
        link.send(frame("x1", "tools/list"))
        link.send(frame("x2", "tools/list"))
        opening = await upstream.next_request()
        await asyncio.sleep(0.05)
        assert upstream.connections == 1
        opening.answer(200, result("open", protocolVersion="2025-11-25"))
        accepting = await upstream.next_request()
        assert accepting.json["method"] == "notifications/initialized"
        await asyncio.sleep(0.05)
        assert upstream.open == 1
        accepting.answer(202)
        assert {(await upstream.next_request()).id, (await upstream.next_request()).id} == {"x1", "x2"}


async def test_the_session_stream_delivers_requests_and_resumes_after_its_last_event() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        stream = await session(upstream, link)
        stream.stream(b"retry: 10\n\nid: e-7\ndata: " + frame("q", "roots/list") + b"\n\nid: e-8\ndata: cut o")
        assert (await received(link)).method == "roots/list"
        link.send(result("q", roots=[]))
        replied = await upstream.next_request()
        assert replied.body == result("q", roots=[])
        replied.answer(202)
        stream.drop()
        stream = await upstream.next_request()
        assert stream.headers["last-event-id"] == "e-7"
        stream.stream(b"id: e-8\ndata: " + frame(None, "notifications/message") + b"\n\n")
        assert (await received(link)).method == "notifications/message"


@pytest.mark.parametrize(("status", "kind"), [(405, "text/plain"), (404, "text/plain"), (200, "text/html"), (302, "text/html")])
async def test_a_server_without_a_session_stream_is_not_asked_for_it_again(status: int, kind: str) -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        (await session(upstream, link)).answer(status, b"no", kind)
        link.send(frame("x1", "tools/list"))
        (await upstream.next_request()).result()
        await answer(link, "x1")


async def test_a_request_whose_stream_breaks_is_answered_by_resuming_it() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        (await session(upstream, link)).answer(405)
        link.send(frame("x1", "tools/call"))
        posted = await upstream.next_request()
        posted.stream(b"id: a-0\nretry: 10\ndata:\n\n")
        posted.end()
        for reply in (lambda polled: polled.end(), lambda polled: polled.drop(), None):
            polled = await upstream.next_request()
            assert (polled.method, polled.headers["last-event-id"]) == ("GET", "a-0")
            polled.stream()
            if reply is not None:
                reply(polled)
        polled.event(b"data: " + result("x1", late=True) + b"\n\n")
        polled.end()
        assert (await answer(link, "x1"))["result"] == {"late": True}


async def test_cancelling_a_session_request_notifies_the_server_and_closes_its_connection() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        (await session(upstream, link)).answer(405)
        link.send(frame("x1", "tools/call"))
        posted = await upstream.next_request()
        link.send(frame(None, "notifications/cancelled", requestId="x1"))
        cancel = await upstream.next_request()
        assert cancel.json["params"]["requestId"] == "x1"
        cancel.answer(202)
        await posted.disconnected()


@pytest.mark.parametrize("status", [404, 400])
async def test_a_lost_session_ends_the_link_and_reports_its_call_as_not_started(status: int) -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        (await session(upstream, link)).answer(405)
        link.send(frame("x1", "tools/call"))
        error = {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "No valid session"}}
        (await upstream.next_request()).answer(status, json.dumps(error).encode())
        lost_call = await lost(link, "x1")
        assert (lost_call.fault.reason, lost_call.fault.retryable, lost_call.started) == (Reason.SESSION_LOST, True, False)
        assert isinstance(await ended(link), EndOfLink)


async def test_closing_the_link_deletes_the_session_at_the_server() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        stream = await session(upstream, link)
        closing = asyncio.create_task(link.aclose())
        await stream.disconnected()
        deletion = await upstream.next_request()
        assert (deletion.method, deletion.headers["mcp-session-id"]) == ("DELETE", "s-1")
        deletion.answer(405)
        await asyncio.wait_for(closing, WAIT)
        assert isinstance(await ended(link), LinkClosed)

"""A link to a remote HTTP server that is missing, refuses, breaks off, or is no MCP server: its errors and faults."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest

from fabric.errors import ConfigError, InvalidFrame, LinkHandshakeError, LinkOverflow, LinkRefused, LinkTimeout
from fabric.faults import LostAnswer, Reason
from fabric.links.registry import connect
from fabric.links.settings import ConnectSettings
from fabric.mcp.jsonrpc import Message
from tests.certificates import Authority
from tests.contract.http_server import Upstream, answer, answered_once, ended, frame, lost, modern, received, result, session
from tests.ports import free_port
from tests.tcp_server import tcp_server


async def test_a_port_without_a_listener_is_an_unavailable_server() -> None:
    link = await connect(f"http://127.0.0.1:{free_port()}/mcp?key=s3cret", ConnectSettings(), id="a#1")
    link.send(modern("x1"))
    lost_call = await lost(link, "x1")
    assert (lost_call.fault.reason, lost_call.fault.retryable, lost_call.started) == (Reason.UNAVAILABLE, True, False)
    error = await ended(link)
    assert isinstance(error, LinkRefused)
    assert "nothing listens" in str(error)
    assert "s3cret" not in str(error) + lost_call.fault.message
    await link.aclose()


@pytest.mark.parametrize("url", ["http:///mcp", "http://[::1/mcp", "https://host:port/"])
async def test_an_invalid_url_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        await connect(url, ConnectSettings(), id="a#1")
    assert url not in str(raised.value)


@pytest.mark.parametrize("status", [401, 403, 302, 503])
async def test_a_server_that_refuses_the_first_request_ends_the_link(status: int) -> None:
    async with Upstream() as upstream:
        link = await upstream.link(headers=(("X-Key", "s3cret"),))
        link.send(modern("x1", "server/discover"))
        (await upstream.next_request()).answer(status, b"<html>", "text/html", Location="https://elsewhere.example/")
        await lost(link, "x1")
        error = await ended(link)
        assert isinstance(error, LinkHandshakeError)
        assert str(status) in str(error)
        assert "s3cret" not in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "ending"),
    [
        (401, "", "answers 401 Unauthorized: check the headers configured for it"),
        (302, "", "answers 302 Found: configure the URL that it redirects to"),
        (404, "text/html", "answers 404 Not Found with text/html, which is no event stream; is this the URL of an MCP server?"),
        (200, "text/html", "answers 200 OK with text/html, which is no event stream; is this the URL of an MCP server?"),
    ],
)
async def test_a_refused_event_stream_is_reported_with_its_remedy(status: int, kind: str, ending: str) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        lines = f"Content-Type: {kind}\r\n" if kind else ""
        writer.write(f"HTTP/1.1 {status} Status\r\n{lines}Content-Length: 0\r\n\r\n".encode())
        await writer.drain()

    async with tcp_server(refuse) as port:
        with pytest.raises(LinkHandshakeError) as refused:
            await connect(f"sse+http://127.0.0.1:{port}/sse", ConnectSettings(), id="a#1")
        assert str(refused.value).endswith(ending)


async def test_a_401_with_a_json_rpc_error_also_ends_the_link() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1", "server/discover"))
        error = {"jsonrpc": "2.0", "id": None, "error": {"code": -31006, "message": "unauthorized"}}
        (await upstream.next_request()).answer(401, json.dumps(error).encode())
        assert (await answer(link, "x1"))["error"] == error["error"]
        assert isinstance(await ended(link), LinkHandshakeError)


async def test_a_notification_is_resent_after_502_and_not_after_500() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        (await session(upstream, link)).answer(405)
        link.send(frame(None, "notifications/roots/list_changed"))
        for status in (502, 500):
            posted = await upstream.next_request()
            assert posted.json["method"] == "notifications/roots/list_changed"
            posted.answer(status)
        link.send(frame("x1", "tools/list"))
        (await upstream.next_request()).result()
        await answer(link, "x1")


async def test_an_html_answer_is_reported_as_not_an_mcp_server() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1", "server/discover"))
        (await upstream.next_request()).answer(200, b"<html>welcome</html>", "text/html")
        await lost(link, "x1")
        error = await ended(link)
        assert isinstance(error, LinkHandshakeError)
        assert "is this the URL of an MCP server?" in str(error)


async def test_a_peer_that_does_not_speak_http_is_reported_without_its_bytes() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example\r\n" + b"x" * 50_000)
        await writer.drain()

    async with tcp_server(greet) as port:
        link = await connect(f"http://127.0.0.1:{port}/mcp", ConnectSettings(), id="a#1")
        link.send(modern("x1", "server/discover"))
        await lost(link, "x1")
        error = await ended(link)
        assert str(error).endswith("/mcp does not answer in HTTP (Bad status line); correct its URL")
        await link.aclose()


async def test_an_error_status_for_server_discover_becomes_invalid_request() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        for status, body in ((400, b"Bad Request"), (405, b""), (400, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600}}')):
            link.send(modern("x1", "server/discover"))
            (await upstream.next_request()).answer(status, body)
            assert (await answer(link, "x1"))["error"]["code"] == -32600


async def test_a_json_rpc_error_with_an_error_status_is_passed_on() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1"))
        error = {"jsonrpc": "2.0", "id": "x1", "error": {"code": -32601, "message": "no such method"}}
        (await upstream.next_request()).answer(404, json.dumps(error).encode())
        assert await answer(link, "x1") == error


@pytest.mark.parametrize(
    ("status", "reason", "retryable", "started"),
    [
        (429, Reason.OVERLOADED, True, False),
        (413, Reason.TOO_LARGE, False, False),
        (401, Reason.UNAVAILABLE, False, False),
        (502, Reason.OUTCOME_UNKNOWN, False, True),
    ],
)
async def test_each_error_status_becomes_the_fault_that_it_proves(
    status: int, reason: Reason, retryable: bool, started: bool
) -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        await answered_once(upstream, link)
        link.send(modern("x1"))
        (await upstream.next_request()).answer(status, b"no", "text/plain", Retry_After="7")
        lost_call = await lost(link, "x1")
        assert (lost_call.fault.reason, lost_call.fault.retryable, lost_call.started) == (reason, retryable, started)
        assert lost_call.fault.retry_after == (7.0 if status == 429 else None)
        await answered_once(upstream, link)


async def test_a_broken_connection_makes_only_its_own_request_outcome_unknown() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        await answered_once(upstream, link)
        for id in ("x1", "x2", "x3", "x4"):
            link.send(modern(id))
        posted = {each.id: each for each in [await upstream.next_request() for _ in range(4)]}
        posted["x1"].drop()
        assert (await lost(link, "x1")).fault.reason is Reason.OUTCOME_UNKNOWN
        posted["x2"].stream(b"data: " + frame(None, "notifications/message") + b"\n\n")
        assert (await received(link)).method == "notifications/message"
        posted["x2"].drop()
        assert (await lost(link, "x2")).started
        posted["x3"].stream()
        posted["x3"].end()
        assert (await lost(link, "x3")).started
        posted["x4"].result()
        await answer(link, "x4")


OK = b"HTTP/1.1 200 OK\r\nContent-Type: "
INVALID = {
    "nothing": b"",
    "no HTTP": b"\x00\xff nonsense\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Ty",
    "a head without an end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
    "less than it promised": OK + b'application/json\r\nContent-Length: 500\r\n\r\n{"jsonrpc":',
    "bad chunks": OK + b"text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "bad gzip": OK + b"application/json\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    "bad UTF-8": OK + b"application/json\r\nContent-Length: 4\r\n\r\n\xff\xfe{}",
    "no JSON": OK + b"application/json\r\nContent-Length: 2\r\n\r\n{]",
    "another's answer": OK + b'application/json\r\nContent-Length: 36\r\n\r\n{"jsonrpc":"2.0","id":7,"result":{}}',
    "accepted": b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
    "events of nothing": OK + b"text/event-stream\r\nContent-Length: 19\r\n\r\ndata: {}\n\ndata: x\n\n",
}


@pytest.mark.parametrize("response", INVALID.values(), ids=INVALID)
async def test_a_request_with_an_invalid_response_is_answered_once_and_the_link_survives(response: bytes) -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        await answered_once(upstream, link)
        link.send(modern("x1"))
        (await upstream.next_request()).raw(response)
        messages: list[Message] = []
        while not messages or messages[-1].id != b'"x1"':
            with suppress(InvalidFrame):
                messages.append(await received(link))
        assert isinstance(messages[-1], LostAnswer)
        expected = Reason.INVALID if response is INVALID["another's answer"] else Reason.OUTCOME_UNKNOWN
        assert messages[-1].fault.reason is expected
        await answered_once(upstream, link)


@pytest.mark.parametrize("id", [b"", b'"id":null,', b'"id":0,'])
async def test_an_answer_without_the_request_id_belongs_to_the_request_of_its_stream(id: bytes) -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        await answered_once(upstream, link)
        for name in ("x1", "x2"):
            link.send(modern(name))
        posted = {each.id: each for each in [await upstream.next_request() for _ in range(2)]}
        posted["x1"].stream(b'data: {"jsonrpc":"2.0",' + id + b'"result":{"content":[]}}\n\n')
        fault = (await lost(link, "x1")).fault
        assert (fault.reason, "not that of the request" in fault.message) == (Reason.INVALID, True)
        refusal = b'"error":{"code":-32600,"message":"the id must be a number"}}\n\n'
        posted["x2"].stream(b'data: {"jsonrpc":"2.0",' + id + refusal)
        refused = await received(link)
        assert (refused.id, b"must be a number" in refused.frame) == (b'"x2"', True)


ANSWER = b'{"jsonrpc":"2.0","id":"x1","result":{"number":1}}'


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        (ANSWER.replace(b"1}}", b"NaN}}"), "not JSON: it holds NaN"),
        (ANSWER.replace(b"1}}", b'"\xe9"}}'), "not JSON: not UTF-8, by its byte 0xe9 at "),
        (ANSWER.replace(b'"jsonrpc":"2.0",', b""), 'not a JSON-RPC 2.0 message: "jsonrpc" is not "2.0"'),
        (ANSWER[:-3], "not JSON: Input data was truncated"),
        (b"\xef\xbb\xbf" + ANSWER, ""),
        (b"<!-- debug --> " + ANSWER, ""),
    ],
)
async def test_an_invalid_answer_is_reported_and_text_before_a_valid_one_is_skipped(
    answered: bytes, reason: str, streamed: bool
) -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        await answered_once(upstream, link)
        link.send(modern("x1"))
        posted = await upstream.next_request()
        if streamed:
            posted.stream(b"data: " + answered + b"\n\n")
            posted.end()
        else:
            posted.answer(200, answered)
        if reason:
            lost_call = await lost(link, "x1")
            assert lost_call.fault.reason is Reason.INVALID
            assert f"{link.info.peer} sent an answer that cannot be passed on: {reason}" in lost_call.fault.message
        else:
            assert (await received(link)).frame == ANSWER
        await answered_once(upstream, link)


async def test_a_gateway_page_instead_of_an_answer_is_reported_with_its_status() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        await answered_once(upstream, link)
        for status, kind in ((502, "text/html"), (200, "text/html"), (200, "application/json")):
            link.send(modern("x1"))
            (await upstream.next_request()).answer(status, b'<html><script>{"result": {}}</script></html>', kind)
            lost_call = await lost(link, "x1")
            assert lost_call.fault.reason is Reason.OUTCOME_UNKNOWN
            assert f"answers {status} " in lost_call.fault.message
        link.send(modern("x1"))
        (await upstream.next_request()).answer(200, ANSWER, "text/plain")
        assert (await received(link)).frame == ANSWER


async def test_a_server_that_comes_back_continues_its_session() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        (await session(upstream, link)).answer(405)
        await upstream.stop()
        link.send(frame("x1", "tools/call"))
        lost_call = await lost(link, "x1")
        assert (lost_call.fault.reason, lost_call.fault.retryable, lost_call.started) == (Reason.UNAVAILABLE, True, False)
        await upstream.listen()
        link.send(frame("x2", "tools/call"))
        (await upstream.next_request()).result()
        await answer(link, "x2")


async def test_a_server_that_does_not_answer_the_connection_times_out() -> None:
    link = await connect(
        "http://192.0.2.1:9/mcp", ConnectSettings(timeout=0.1), id="a#1"
    )  # RFC 5737: an address without a host
    link.send(modern("x1"))
    await lost(link, "x1")
    assert isinstance(await ended(link), LinkTimeout | LinkRefused)
    await link.aclose()


async def test_an_oversized_answer_is_reported_and_the_link_survives() -> None:
    async with Upstream() as upstream:
        link = await upstream.link(max_frame_bytes=1000)
        link.send(modern("x1"))
        (await upstream.next_request()).result(text="x" * 2000)
        assert (await lost(link, "x1")).fault.reason is Reason.TOO_LARGE
        link.send(modern("x2"))
        posted = await upstream.next_request()
        long = b"data: " + frame(None, "notifications/message", text="x" * 300_000) + b"\n\n"
        posted.stream(long, b"data: " + result("x2") + b"\n\n")
        posted.end()
        await answer(link, "x2")
        stream = await session(upstream, link)
        stream.stream(long, b"data: " + frame(None, "notifications/message") + b"\n\n")
        with pytest.raises(LinkOverflow):
            await received(link)
        assert (await received(link)).method == "notifications/message"


async def test_a_server_with_a_trusted_private_certificate_is_reached() -> None:
    authority = Authority.make()
    async with Upstream(tls=authority.server()) as upstream:
        link = await upstream.link(trust=authority.trust)
        await answered_once(upstream, link)


async def test_a_redirect_within_the_server_is_followed_and_remembered() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1"))
        (await upstream.next_request()).answer(307, Location="/mcp/")
        for id in ("x1", "x2"):
            posted = await upstream.next_request()
            assert (posted.path, posted.id) == ("/mcp/", id)
            posted.result()
            await answer(link, id)
            link.send(modern("x2"))

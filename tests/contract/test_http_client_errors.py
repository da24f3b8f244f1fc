"""What is said where a remote MCP server is not there, is none, breaks off or does not let us in."""

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
from tests.contract.http_server import Upstream, answer, ended, frame, lost, modern, proven, received, result, session
from tests.conversing import conversing
from tests.ports import free_port


async def test_nobody_listens() -> None:
    link = await connect(f"http://127.0.0.1:{free_port()}/mcp?key=s3cret", ConnectSettings(), id="a#1")
    link.send(modern("x1"))
    instead = await lost(link, "x1")
    assert (instead.fault.reason, instead.fault.retryable, instead.started) == (Reason.UNAVAILABLE, True, False)
    error = await ended(link)
    assert isinstance(error, LinkRefused)
    assert "nothing listens" in str(error)
    assert "s3cret" not in str(error) + instead.fault.message
    await link.aclose()


@pytest.mark.parametrize("url", ["http:///mcp", "http://[::1/mcp", "https://host:port/"])
async def test_what_is_no_url_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ConfigError):
        await connect(url, ConnectSettings(), id="a#1")


@pytest.mark.parametrize("status", [401, 403, 302, 503])
async def test_a_server_that_does_not_let_us_in_is_no_link(status: int) -> None:
    async with Upstream() as upstream:
        link = await upstream.link(headers=(("X-Key", "s3cret"),))
        link.send(modern("x1", "server/discover"))
        (await upstream.asked()).answer(status, b"<html>", "text/html", Location="https://elsewhere.example/")
        await lost(link, "x1")
        error = await ended(link)
        assert isinstance(error, LinkHandshakeError)
        assert str(status) in str(error)
        assert "s3cret" not in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (401, "", "answers 401 Unauthorized: check the headers configured for it"),
        (302, "", "answers 302 Found: configure the URL that it redirects to"),
        (404, "text/html", "answers 404 Not Found with text/html, which is no event stream; is this the URL of an MCP server?"),
        (200, "text/html", "answers 200 OK with text/html, which is no event stream; is this the URL of an MCP server?"),
    ],
)
async def test_what_opens_no_event_stream_says_what_to_do(status: int, kind: str, told: str) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        lines = f"Content-Type: {kind}\r\n" if kind else ""
        writer.write(f"HTTP/1.1 {status} Said\r\n{lines}Content-Length: 0\r\n\r\n".encode())
        await writer.drain()

    async with conversing(refuse) as port:
        with pytest.raises(LinkHandshakeError) as refused:
            await connect(f"sse+http://127.0.0.1:{port}/sse", ConnectSettings(), id="a#1")
        assert str(refused.value).endswith(told)


async def test_a_refusal_in_json_rpc_is_a_refusal_too() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1", "server/discover"))
        error = {"jsonrpc": "2.0", "id": None, "error": {"code": -31006, "message": "who are you?"}}
        (await upstream.asked()).answer(401, json.dumps(error).encode())
        assert (await answer(link, "x1"))["error"] == error["error"]
        assert isinstance(await ended(link), LinkHandshakeError)


async def test_a_notification_that_a_gateway_did_not_hand_on_is_sent_again_and_one_the_server_refused_is_not() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        (await session(upstream, link)).answer(405)
        link.send(frame(None, "notifications/roots/list_changed"))
        for status in (502, 500):
            asked = await upstream.asked()
            assert asked.json["method"] == "notifications/roots/list_changed"
            asked.answer(status)
        link.send(frame("x1", "tools/list"))
        (await upstream.asked()).result()
        await answer(link, "x1")


async def test_what_answers_is_no_mcp_server() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1", "server/discover"))
        (await upstream.asked()).answer(200, b"<html>welcome</html>", "text/html")
        await lost(link, "x1")
        error = await ended(link)
        assert isinstance(error, LinkHandshakeError)
        assert "is this the URL of an MCP server?" in str(error)


async def test_what_does_not_answer_in_http_is_said_in_a_line_without_its_bytes() -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example\r\n" + b"x" * 50_000)
        await writer.drain()

    async with conversing(babble) as port:
        link = await connect(f"http://127.0.0.1:{port}/mcp", ConnectSettings(), id="a#1")
        link.send(modern("x1", "server/discover"))
        await lost(link, "x1")
        error = await ended(link)
        assert str(error).endswith("/mcp does not answer in HTTP (Bad status line); correct its URL")
        await link.aclose()


async def test_a_legacy_server_refuses_a_modern_question_so_that_it_is_known_for_one() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        for status, body in ((400, b"Bad Request"), (405, b""), (400, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600}}')):
            link.send(modern("x1", "server/discover"))
            (await upstream.asked()).answer(status, body)
            assert (await answer(link, "x1"))["error"]["code"] == -32600


async def test_an_error_status_with_an_answer_in_it_is_that_answer() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1"))
        error = {"jsonrpc": "2.0", "id": "x1", "error": {"code": -32601, "message": "no such method"}}
        (await upstream.asked()).answer(404, json.dumps(error).encode())
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
async def test_a_refusal_is_told_as_what_it_proves(status: int, reason: Reason, retryable: bool, started: bool) -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        await proven(upstream, link)
        link.send(modern("x1"))
        (await upstream.asked()).answer(status, b"no", "text/plain", Retry_After="7")
        instead = await lost(link, "x1")
        assert (instead.fault.reason, instead.fault.retryable, instead.started) == (reason, retryable, started)
        assert instead.fault.retry_after == (7.0 if status == 429 else None)
        await proven(upstream, link)


async def test_a_connection_that_breaks_ends_its_own_request_with_the_outcome_unknown() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        await proven(upstream, link)
        for id in ("x1", "x2", "x3", "x4"):
            link.send(modern(id))
        asked = {each.id: each for each in [await upstream.asked() for _ in range(4)]}
        asked["x1"].drop()
        assert (await lost(link, "x1")).fault.reason is Reason.OUTCOME_UNKNOWN
        asked["x2"].stream(b"data: " + frame(None, "notifications/message") + b"\n\n")
        assert (await received(link)).method == "notifications/message"
        asked["x2"].drop()
        assert (await lost(link, "x2")).started
        asked["x3"].stream()
        asked["x3"].end()
        assert (await lost(link, "x3")).started
        asked["x4"].result()
        await answer(link, "x4")


OK = b"HTTP/1.1 200 OK\r\nContent-Type: "
ODD = {
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


@pytest.mark.parametrize("said", ODD.values(), ids=ODD)
async def test_whatever_a_server_says_its_request_is_answered_once_and_the_next_one_comes(said: bytes) -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        await proven(upstream, link)
        link.send(modern("x1"))
        (await upstream.asked()).say(said)
        found: list[Message] = []
        while not found or found[-1].id != b'"x1"':
            with suppress(InvalidFrame):
                found.append(await received(link))
        assert isinstance(found[-1], LostAnswer)
        expected = Reason.INVALID if said is ODD["another's answer"] else Reason.OUTCOME_UNKNOWN
        assert found[-1].fault.reason is expected
        await proven(upstream, link)


@pytest.mark.parametrize("id", [b"", b'"id":null,', b'"id":0,'])
async def test_an_answer_without_the_id_in_the_open_stream_of_a_request_is_that_requests(id: bytes) -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        await proven(upstream, link)
        for name in ("x1", "x2"):
            link.send(modern(name))
        asked = {each.id: each for each in [await upstream.asked() for _ in range(2)]}
        asked["x1"].stream(b'data: {"jsonrpc":"2.0",' + id + b'"result":{"content":[]}}\n\n')
        told = (await lost(link, "x1")).fault
        assert (told.reason, "not that of the request" in told.message) == (Reason.INVALID, True)
        refusal = b'"error":{"code":-32600,"message":"the id must be a number"}}\n\n'
        asked["x2"].stream(b'data: {"jsonrpc":"2.0",' + id + refusal)
        refused = await received(link)
        assert (refused.id, b"must be a number" in refused.frame) == (b'"x2"', True)


ANSWER = b'{"jsonrpc":"2.0","id":"x1","result":{"number":1}}'


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (ANSWER.replace(b"1}}", b"NaN}}"), "not JSON: it holds NaN"),
        (ANSWER.replace(b"1}}", b'"\xe9"}}'), "not JSON: not UTF-8, by its byte 0xe9 at "),
        (ANSWER.replace(b'"jsonrpc":"2.0",', b""), 'not a JSON-RPC 2.0 message: "jsonrpc" is not "2.0"'),
        (ANSWER[:-3], "not JSON: Input data was truncated"),
        (b"\xef\xbb\xbf" + ANSWER, ""),
        (b"<!-- debug --> " + ANSWER, ""),
    ],
)
async def test_a_broken_answer_is_told_and_what_stands_before_one_is_passed_over(
    said: bytes, reason: str, streamed: bool
) -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        await proven(upstream, link)
        link.send(modern("x1"))
        asked = await upstream.asked()
        if streamed:
            asked.stream(b"data: " + said + b"\n\n")
            asked.end()
        else:
            asked.answer(200, said)
        if reason:
            told = await lost(link, "x1")
            assert told.fault.reason is Reason.INVALID
            assert f"{link.info.peer} sent an answer that cannot be passed on: {reason}" in told.fault.message
        else:
            assert (await received(link)).frame == ANSWER
        await proven(upstream, link)


async def test_a_page_of_a_gateway_in_place_of_an_answer_is_told_with_its_status() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        await proven(upstream, link)
        for status, kind in ((502, "text/html"), (200, "text/html"), (200, "application/json")):
            link.send(modern("x1"))
            (await upstream.asked()).answer(status, b'<html><script>{"result": {}}</script></html>', kind)
            told = await lost(link, "x1")
            assert told.fault.reason is Reason.OUTCOME_UNKNOWN
            assert f"answers {status} " in told.fault.message
        link.send(modern("x1"))
        (await upstream.asked()).answer(200, ANSWER, "text/plain")
        assert (await received(link)).frame == ANSWER


async def test_a_server_that_comes_back_is_reached_again_and_the_session_it_kept_goes_on() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        (await session(upstream, link)).answer(405)
        await upstream.stop()
        link.send(frame("x1", "tools/call"))
        instead = await lost(link, "x1")
        assert (instead.fault.reason, instead.fault.retryable, instead.started) == (Reason.UNAVAILABLE, True, False)
        await upstream.listen()
        link.send(frame("x2", "tools/call"))
        (await upstream.asked()).result()
        await answer(link, "x2")


async def test_a_server_that_does_not_answer_the_connection_times_out() -> None:
    link = await connect("http://192.0.2.1:9/mcp", ConnectSettings(timeout=0.1), id="a#1")  # RFC 5737: nobody is there
    link.send(modern("x1"))
    await lost(link, "x1")
    assert isinstance(await ended(link), LinkTimeout | LinkRefused)
    await link.aclose()


async def test_an_answer_over_the_limit_is_told_and_the_next_one_comes() -> None:
    async with Upstream() as upstream:
        link = await upstream.link(max_frame_bytes=1000)
        link.send(modern("x1"))
        (await upstream.asked()).result(text="x" * 2000)
        assert (await lost(link, "x1")).fault.reason is Reason.TOO_LARGE
        link.send(modern("x2"))
        asked = await upstream.asked()
        long = b"data: " + frame(None, "notifications/message", text="x" * 300_000) + b"\n\n"
        asked.stream(long, b"data: " + result("x2") + b"\n\n")
        asked.end()
        await answer(link, "x2")
        stream = await session(upstream, link)
        stream.stream(long, b"data: " + frame(None, "notifications/message") + b"\n\n")
        with pytest.raises(LinkOverflow):
            await received(link)
        assert (await received(link)).method == "notifications/message"


async def test_a_server_whose_certificate_is_of_a_private_authority_is_reached() -> None:
    authority = Authority.make()
    async with Upstream(tls=authority.server()) as upstream:
        link = await upstream.link(trust=authority.trust)
        await proven(upstream, link)


async def test_a_redirect_within_the_server_is_followed_and_remembered() -> None:
    async with Upstream() as upstream:
        link = await upstream.link()
        link.send(modern("x1"))
        (await upstream.asked()).answer(307, Location="/mcp/")
        for id in ("x1", "x2"):
            asked = await upstream.asked()
            assert (asked.path, asked.id) == ("/mcp/", id)
            asked.result()
            await answer(link, id)
            link.send(modern("x2"))

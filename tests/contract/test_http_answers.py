"""The form of an answer: as JSON or as a stream, by what the client accepts and how long the server takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fabric.mcp import jsonrpc
from tests.contract.http_client import BOTH, LEGACY, modern, request
from tests.contract.http_receiver import Receiver, open_receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = await open_receiver()
    yield receiver
    await receiver.listener.aclose()


MODERN_META = b'{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}'


@pytest.mark.requirement("P12")
@pytest.mark.parametrize(
    ("headers", "params"),
    [
        (LEGACY, b"null"),
        (LEGACY, b"[]"),
        (LEGACY, b"7"),
        (LEGACY, b'{"_meta":null}'),
        (LEGACY, b'{"_meta":[]}'),
        (LEGACY, b'{"_meta":{"progressToken":null,"io.modelcontextprotocol/protocolVersion":null}}'),
        (LEGACY, b'{"name":null,"arguments":null}'),
        (modern("tools/call")[0], b'{"name":null,"arguments":null,"requestState":null,"_meta":%b}' % MODERN_META),
        (modern("tools/call")[0], b'{"name":7,"arguments":[],"inputResponses":null,"_meta":%b}' % MODERN_META),
    ],
)
async def test_params_that_only_the_server_can_judge_are_forwarded_unchanged(
    receiver: Receiver, headers: dict[str, str], params: bytes
) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%b}' % params
    async with await receiver.client() as client:
        client.send("POST", "/mcp", headers, body)
        received = await receiver.next_request()
        assert received.message is not None
        assert received.message.frame == body
        received.answer()
        assert (await client.reply()).status == 200


@pytest.mark.requirement("L07", "P12")
@pytest.mark.parametrize("params", [b"null", b"[]", b'{"_meta":null}', b'{"_meta":[]}', b"{}"])
async def test_a_modern_request_without_its_metadata_is_invalid_params(receiver: Receiver, params: bytes) -> None:
    headers, _ = modern("tools/list")
    async with await receiver.client() as client:
        body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":%b}' % params
        reply = await client.ask("POST", "/mcp", headers, body)
        assert (reply.status, reply.json["error"]["code"], reply.json["id"]) == (400, jsonrpc.INVALID_PARAMS, 1)


# ------------------------------------------------------------ what a client accepts
@pytest.mark.requirement("L07", "P05")
@pytest.mark.parametrize("accept", ["*/*", None, "application/*, text/event-stream;q=0.1"])
async def test_a_client_that_accepts_any_type_gets_json_or_a_stream(receiver: Receiver, accept: str | None) -> None:
    headers, body = modern("tools/list")
    headers = {name: value for name, value in headers.items() if name != "Accept"} | ({"Accept": accept} if accept else {})
    async with await receiver.client() as client:
        client.send("POST", "/mcp", headers, body)
        (await receiver.next_request()).answer()
        assert (await client.reply()).headers["content-type"] == "application/json"
        client.send("POST", "/mcp", headers, body)
        received = await receiver.next_request()
        assert not received.info.answer_only
        received.link.send(b"{}")
        received.answer()
        assert (await client.reply()).headers["content-type"] == "text/event-stream"


@pytest.mark.requirement("L07")
@pytest.mark.parametrize("form", ["modern", "legacy", "batch"])
async def test_a_client_that_accepts_only_json_gets_json_however_late(form: str) -> None:
    receiver = await open_receiver(keep_alive_timeout=0.05)
    headers, body = modern("tools/list") if form == "modern" else (LEGACY, request("tools/list"))
    if form == "batch":
        headers, body = LEGACY | {"MCP-Protocol-Version": "2025-03-26"}, b"[%b]" % body
    async with await receiver.client() as client:
        client.send("POST", "/mcp", headers | {"Accept": "application/json"}, body)
        received = await receiver.next_request()
        assert received.info.answer_only
        await asyncio.sleep(0.3)  # several times keep_alive_timeout, after which others get a stream
        received.link.send(b'{"id":1,"result":{}}', final=True)
        reply = await client.reply()
        assert (reply.status, reply.headers["content-type"], reply.body) == (200, "application/json", b'{"id":1,"result":{}}')
        client.send("POST", "/mcp", headers | {"Accept": "application/json"}, body)
        (await receiver.next_request()).link.finish()  # it was cancelled
        assert (await client.reply()).status == 202
    await receiver.listener.aclose()


@pytest.mark.requirement("L07")
async def test_a_client_that_accepts_only_event_streams_gets_its_answer_as_an_event(receiver: Receiver) -> None:
    headers, body = modern("tools/list")
    headers |= {"Accept": "text/event-stream"}
    async with await receiver.client() as client:
        client.send("POST", "/mcp", headers, body)
        frame = (await receiver.next_request()).answer()
        reply = await client.reply()
        assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
        assert reply.body == b"data: " + frame + b"\n\n"
        client.send("POST", "/mcp", headers, body)
        error = jsonrpc.error_frame(b"1", jsonrpc.METHOD_NOT_FOUND, "no")
        (await receiver.next_request()).link.send(error, final=True)
        reply = await client.reply()  # an error with a status of its own has no other form
        assert (reply.status, reply.headers["content-type"], reply.body) == (404, "application/json", error)
        client.send("POST", "/mcp", BOTH | {"Accept": "text/event-stream"}, request("initialize"))
        received = await receiver.next_request()
        received.link.establish("token-1")
        received.answer()
        reply = await client.reply()
        assert (reply.headers["content-type"], reply.headers["mcp-session-id"]) == ("text/event-stream", "token-1")


# ------------------------------------------------------------ slow requests
@pytest.mark.requirement("L07")
@pytest.mark.parametrize("form", ["2026-07-28", "2025-03-26", "2025-06-18", "2025-11-25", "batch", "1.0"])
async def test_a_slow_request_is_answered_by_a_stream_with_comments(form: str) -> None:
    receiver = await open_receiver(keep_alive_timeout=0.05)
    headers, body = modern("tools/list")
    if form not in ("2026-07-28", "1.0"):
        headers, body = LEGACY | {"MCP-Protocol-Version": form.replace("batch", "2025-03-26")}, request("tools/list")
    body = b"[%b]" % body if form == "batch" else body
    async with await receiver.client() as client:
        if form == "1.0":
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            client.write(f"POST /mcp HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body)
        else:
            client.send("POST", "/mcp", headers, body)

        async def event() -> bytes:
            return await (client.reader.readuntil(b"\n\n") if form == "1.0" else client.chunk())

        received = await receiver.next_request()
        reply = await client.head()
        assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
        assert [await event(), await event()] == [b":\n\n"] * 2
        error = jsonrpc.error_frame(b"1", jsonrpc.METHOD_NOT_FOUND, "no")  # whose status would have been 404
        received.link.send(error, final=True)
        while (last_event := await event()) == b":\n\n":
            pass
        assert last_event == b"data: " + error + b"\n\n"
    await receiver.listener.aclose()


@pytest.mark.requirement("L08")
async def test_a_slow_initialize_is_answered_by_a_stream_with_its_session_id() -> None:
    receiver = await open_receiver(keep_alive_timeout=0.05)
    async with await receiver.client() as client:
        client.send("POST", "/mcp", BOTH, request("initialize"))
        received = await receiver.next_request()
        reply = await client.head()
        assert (reply.headers["content-type"], reply.headers["mcp-session-id"]) == ("text/event-stream", "early")
        assert [await client.chunk(), await client.chunk()] == [b":\n\n"] * 2
        frame = received.answer()
        while (last_event := await client.chunk()) == b":\n\n":
            pass
        assert last_event == b"data: " + frame + b"\n\n"
    await receiver.listener.aclose()


@pytest.mark.requirement("L08")
async def test_notifications_and_deletes_get_no_stream_however_slow_they_are() -> None:
    receiver = await open_receiver(keep_alive_timeout=0.05)
    notification = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
    responses = b'[{"jsonrpc":"2.0","id":1,"result":{}},' + notification + b"]"
    async with await receiver.client() as client:
        for method, headers, body in (
            ("POST", LEGACY, notification),
            ("POST", LEGACY | {"MCP-Protocol-Version": "2025-03-26"}, responses),
            ("DELETE", LEGACY, None),
        ):
            client.send(method, "/mcp", headers, body)
            received = await receiver.next_request()
            await asyncio.sleep(0.2)
            received.link.accept()
            assert (await client.reply()).status in (200, 202)
    await receiver.listener.aclose()

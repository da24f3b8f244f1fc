"""Connections of the HTTP listener: framing, pipelining, disconnects and timeouts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fabric.errors import LinkBroken
from fabric.links.http.request_reader import MAX_HEAD_BYTES
from tests.contract.http_client import BOTH, LEGACY, STREAM, TIMEOUT, Client, modern, request
from tests.contract.http_receiver import Receiver, open_receiver

UP = {"/livez": lambda: (200, b"up", "text/plain")}
CLOSED = pytest.mark.parametrize("ending", ["fin", "half", "reset"])


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = await open_receiver(pages=UP)
    yield receiver
    await receiver.listener.aclose()


@pytest.fixture
async def impatient() -> AsyncIterator[Receiver]:
    """A receiver with short timeouts."""
    receiver = await open_receiver(pages=UP, request_timeout=3.0, stall_timeout=0.4, idle_timeout=3.0, keep_alive_timeout=0.1)
    yield receiver
    await receiver.listener.aclose()


async def read_to_end(client: Client) -> bytes:
    """Everything until the listener closes the connection."""
    async with asyncio.timeout(TIMEOUT):
        return await client.reader.read()


async def test_an_open_request_has_no_task(receiver: Receiver) -> None:
    async with await receiver.client() as client, await receiver.client() as other:
        before = len(asyncio.all_tasks())
        client.send("POST", "/mcp", *modern("tools/list"))
        other.send("GET", "/mcp", STREAM)
        requests = [await receiver.next_request(), await receiver.next_request()]
        requests[1].link.send(b"")
        assert len(asyncio.all_tasks()) == before


async def test_a_client_that_asks_for_it_gets_the_connection_closed_after_its_answer(receiver: Receiver) -> None:
    async with await receiver.client() as client:
        headers, body = modern("tools/list")
        client.send("POST", "/mcp", headers | {"Connection": "close"}, body)
        client.send("POST", "/mcp", headers, body)  # which is not read
        (await receiver.next_request()).answer()
        assert (await client.reply()).headers["connection"] == "close"
        assert await read_to_end(client) == b""
        assert receiver.requests.empty()
        assert receiver.listener.refusals == {}


async def test_an_http_1_0_client_gets_its_answer_and_the_end(receiver: Receiver) -> None:
    async with await receiver.client() as client:
        client.write(b"GET /livez HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
        reply = await client.reply()
        assert (reply.status, reply.body, reply.headers["connection"]) == (200, b"up", "close")
        assert await read_to_end(client) == b""


@pytest.mark.parametrize("piece", [1, 7, 100])
async def test_a_body_in_chunks_is_read_wherever_they_are_cut(receiver: Receiver, piece: int) -> None:
    headers, body = modern("tools/call", name="echo", arguments={"text": "x" * 300})
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:100], body[100:101], body[101:])) + b"0\r\n\r\n"
    async with await receiver.client() as client:
        client.send("POST", "/mcp", headers | {"Transfer-Encoding": "chunked"})
        for start in range(0, len(chunks), piece):
            client.write(chunks[start : start + piece])
            await asyncio.sleep(0)
        received = await receiver.next_request()
        assert received.message is not None
        assert received.message.frame == body
        received.answer()
        assert (await client.reply()).status == 200


async def test_a_head_request_is_answered_without_a_body(receiver: Receiver) -> None:
    async with await receiver.client() as client:
        client.send("HEAD", "/livez", {})
        reply = await client.head()
        assert (reply.status, reply.headers["content-length"]) == (200, "2")
        assert (await client.ask("GET", "/livez", {})).body == b"up"
        client.send("HEAD", "/mcp", BOTH)
        assert (await client.head()).status == 405


@pytest.mark.requirement("S03")
async def test_exactly_one_host_is_required_and_an_absolute_target_overrides_it(receiver: Receiver) -> None:
    async with await receiver.client() as client:
        client.write(b"GET /livez HTTP/1.1\r\n\r\n")
        assert (await client.reply()).status == 400
        client.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")
        assert (await client.reply()).status == 400
        client.write(b"GET http://localhost/livez HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert (await client.reply()).status == 200
        client.write(b"GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await client.reply()).status == 421


H2C = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA"}


@pytest.mark.parametrize(
    "offer",
    [
        H2C,
        H2C | {"Expect": "100-continue"},
        {"Connection": "Upgrade", "Upgrade": "TLS/1.2, HTTP/2.0"},
        {"Connection": "upgrade", "Upgrade": "websocket"},
        {"Connection": "TE", "TE": "trailers, deflate;q=0.5"},
        {"Accept-Encoding": "gzip, br, identity;q=0", "Accept-Charset": "latin1", "Accept-Language": "fr"},
        {"Range": "bytes=0-0", "If-Range": '"a"', "If-Match": '"a"', "If-None-Match": "*"},
        {"If-Modified-Since": "Sun, 29 Nov 2026 00:00:00 GMT", "If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"},
        {"Prefer": "respond-async, wait=1", "Max-Forwards": "0", "Priority": "u=0, i", "Keep-Alive": "timeout=1"},
        {"Content-Encoding": "Identity", "Trailer": "Digest"},
    ],
)
async def test_optional_request_headers_are_ignored(receiver: Receiver, offer: dict[str, str]) -> None:
    headers, body = modern("tools/list")
    async with await receiver.client() as client:
        for chunked in (False, True, False):  # pipelined, so that nothing of what follows may be lost
            if chunked:
                client.send("POST", "/mcp", headers | offer | {"Transfer-Encoding": "chunked"})
                client.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            else:
                client.send("POST", "/mcp", headers | offer, body)
        client.send("GET", "/mcp", STREAM | offer)
        client.send("GET", "/livez", offer)
        for _ in range(3):
            frame = (await receiver.next_request()).answer()
            reply = await client.head()
            while reply.status == 100:
                reply = await client.head()
            assert reply.status == 200
            assert await client.reader.readexactly(int(reply.headers["content-length"])) == frame
        (await receiver.next_request()).link.finish()
        assert (await client.reply()).headers["content-type"] == "text/event-stream"
        assert (await client.reply()).body == b"up"
        assert receiver.listener.refusals == {}


async def test_an_upgrade_offered_over_http_1_0_is_ignored(receiver: Receiver) -> None:
    async with await receiver.client() as client:
        client.write(b"GET /livez HTTP/1.0\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert (await client.reply()).body == b"up"
        assert await read_to_end(client) == b""


@pytest.mark.parametrize(("path", "status"), [("/mcp", 400), ("/ws", 404)])
async def test_a_websocket_upgrade_at_another_path_is_refused_and_the_connection_survives(
    receiver: Receiver, path: str, status: int
) -> None:
    async with await receiver.client() as client:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "eA=="}
        reply = await client.ask("GET", path, upgrade)
        assert (reply.status, "/ws" in reply.json["error"]["message"] or status == 404) == (status, True)
        assert (await client.ask("GET", "/livez", {})).body == b"up"


async def test_a_connect_request_is_refused_and_its_connection_closed(receiver: Receiver) -> None:
    async with await receiver.client() as client:
        client.write(b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n\x16\x03\x01")
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (404, "close")
        assert await read_to_end(client) == b""


@pytest.mark.requirement("P12")
@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_ambiguous_framing_is_refused_and_its_connection_closed(receiver: Receiver, framing: bytes) -> None:
    async with await receiver.client() as client:
        client.write(
            b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n" + framing + b"0\r\n\r\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (400, "close")
        assert await read_to_end(client) == b""


@pytest.mark.requirement("P12")
async def test_an_oversized_head_is_refused_with_a_readable_response(receiver: Receiver) -> None:
    async with await receiver.client() as client:
        client.send("GET", "/livez", {"X": "x" * (64 * MAX_HEAD_BYTES)})
        reply = await client.reply()
        assert (reply.status, reply.json["error"]["data"]["reason"]) == (431, "too_large")
        assert await read_to_end(client) == b""
        assert receiver.listener.refusals == {431: 1}


@pytest.mark.requirement("P12")
async def test_garbage_after_a_request_is_refused_after_that_request_is_answered(receiver: Receiver) -> None:
    async with await receiver.client() as client:
        client.send("POST", "/mcp", *modern("tools/list"))
        client.write(b"\x00rubbish\r\n\r\n")
        received = await receiver.next_request()
        received.link.send(b"{}")
        frame = received.answer()
        assert (await client.reply()).body == b"data: {}\n\ndata: " + frame + b"\n\n"
        assert (await client.reply()).status == 400
        assert await read_to_end(client) == b""


async def test_a_client_that_expects_100_continue_gets_a_refusal_instead(receiver: Receiver) -> None:
    for path, length, status in (("/none/mcp", 10, 404), ("/mcp", 10**9, 413)):
        async with await receiver.client() as client:
            client.send("POST", path, LEGACY | {"Expect": "100-continue", "Content-Length": str(length)})
            reply = await client.reply()
            assert (reply.status, reply.headers["connection"]) == (status, "close")
            assert await read_to_end(client) == b""


# ------------------------------------------------------------ pipelining
async def test_ten_thousand_pipelined_requests_are_answered_in_order(receiver: Receiver) -> None:
    async with await receiver.client() as client:

        async def answer() -> None:
            for _ in range(5000):
                (await receiver.next_request()).answer()

        answering = asyncio.ensure_future(answer())
        for id in range(5000):
            client.send("POST", "/mcp", LEGACY, request("ping", id=id))
            client.send("GET", "/livez", {})
        for id in range(5000):
            assert (await client.reply()).json["id"] == id
            assert (await client.reply()).body == b"up"
        await answering


async def test_a_client_is_not_read_far_ahead_of_its_answers(receiver: Receiver) -> None:
    async with await receiver.client() as client:
        for id in range(200):
            client.send("POST", "/mcp", LEGACY, request("ping", id=id, pad="x" * 100_000))
        sending = asyncio.ensure_future(client.writer.drain())
        first = await receiver.next_request()
        assert not (await asyncio.wait([sending], timeout=0.2))[0]
        assert receiver.requests.empty()
        first.answer()
        for id in range(200):
            assert (await client.reply()).json["id"] == id
            if id < 199:
                (await receiver.next_request()).answer()
        await asyncio.wait_for(sending, TIMEOUT)


async def test_a_client_that_reads_no_answers_is_served_no_further_requests(receiver: Receiver) -> None:
    async with await receiver.client() as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # every asyncio transport of a socket has it
        count = 50
        for id in range(count):
            client.send("POST", "/mcp", LEGACY, request("ping", id=id))
        served = 0
        while True:
            try:
                received = await asyncio.wait_for(receiver.requests.get(), 0.3)
            except TimeoutError:
                break
            received.answer("x" * 1_000_000)
            served += 1
        assert served < count / 2
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
        for id in range(count):
            if id >= served:
                (await receiver.next_request()).answer()
            assert (await client.reply()).json["id"] == id


@pytest.mark.requirement("L07", "P06")
@CLOSED
@pytest.mark.parametrize("behind", [0, 1, 20])
async def test_a_disconnect_is_noticed_behind_pipelined_requests(receiver: Receiver, ending: str, behind: int) -> None:
    client = await receiver.client()
    for id in range(behind + 1):
        client.send("POST", "/mcp", *modern("tools/list", id=id))
    received = await receiver.next_request()
    if ending == "half":
        client.writer.write_eof()  # it could still read, but the listener cannot know
    elif ending == "fin":
        client.writer.close()
    else:
        client.writer.transport.abort()
    assert isinstance(await received.disconnected(), LinkBroken)
    assert receiver.requests.empty()
    if ending == "half":
        assert await read_to_end(client) == b""
        client.writer.close()


# ------------------------------------------------------------ timeouts
@pytest.mark.parametrize("sent", [b"P", b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n"])
async def test_a_head_that_arrives_too_slowly_times_out(impatient: Receiver, sent: bytes) -> None:
    async with await impatient.client() as client:
        client.write(sent)
        answered = asyncio.ensure_future(client.reply())
        while not (await asyncio.wait([answered], timeout=0.02))[0]:
            client.write(b"X" if len(sent) > 1 else b"")
        reply = answered.result()
        assert (reply.status, reply.headers["connection"]) == (408, "close")
        assert await read_to_end(client) == b""


async def test_the_head_timeout_restarts_with_each_request() -> None:
    receiver = await open_receiver(pages=UP, request_timeout=3.0, idle_timeout=60.0)
    async with await receiver.client() as client:
        for _ in range(4):
            client.write(b"GET /livez HTTP/1.1\r\n")
            await asyncio.sleep(0.8)
            client.write(b"Host: localhost\r\n\r\n")
            assert (await client.reply()).status == 200
        client.write(b"GET /livez HTTP/1.1\r\n")
        assert (await client.reply()).status == 408
    await receiver.listener.aclose()


async def test_a_slow_body_is_accepted_and_a_stalled_one_times_out(impatient: Receiver) -> None:
    headers, body = modern("tools/call", name="echo", arguments={"text": "x" * 1000})
    async with await impatient.client() as client:
        client.send("POST", "/mcp", headers | {"Content-Length": str(len(body))})
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for start in range(0, len(body), 200):
            client.write(body[start : start + 200])
            await asyncio.sleep(0.6)
        assert loop.time() - begun > 3.0
        (await impatient.next_request()).answer()
        assert (await client.reply()).status == 200
        client.send("POST", "/mcp", headers | {"Content-Length": str(len(body))})
        client.write(body[:100])
        assert (await client.reply()).status == 408
        assert await read_to_end(client) == b""
        assert impatient.requests.empty()


async def test_an_idle_connection_is_closed_without_a_response(impatient: Receiver) -> None:
    async with await impatient.client() as fresh, await impatient.client() as used:
        assert (await used.ask("GET", "/livez", {})).status == 200
        assert await read_to_end(fresh) == b""
        assert await read_to_end(used) == b""


async def test_a_connection_that_waits_for_an_answer_is_not_idle(impatient: Receiver) -> None:
    async with await impatient.client() as client, await impatient.client() as idle:
        client.send("POST", "/mcp", *modern("tools/list"))
        received = await impatient.next_request()
        assert await read_to_end(idle) == b""
        received.answer()
        assert (await client.reply()).status == 200


async def test_a_client_that_does_not_read_its_last_answer_is_dropped(impatient: Receiver) -> None:
    client = await impatient.client()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # as above
    headers, body = modern("tools/list")
    client.send("POST", "/mcp", headers | {"Connection": "close"}, body)
    (await impatient.next_request()).answer("x" * 30_000_000)

    async def write() -> None:
        while True:
            client.write(b"x")
            await client.writer.drain()
            await asyncio.sleep(0.01)

    with pytest.raises(ConnectionError):  # the listener has closed the connection
        await asyncio.wait_for(write(), TIMEOUT)
    client.writer.close()


async def test_a_request_that_is_arriving_when_the_listener_closes_is_answered() -> None:
    receiver = await open_receiver(close_timeout=5.0)
    headers, body = modern("tools/list")
    async with await receiver.client() as client:
        client.send("POST", "/mcp", headers | {"Content-Length": str(len(body)), "Expect": "100-continue"})
        assert (await client.head()).status == 100
        closing = asyncio.ensure_future(receiver.listener.aclose())
        await asyncio.sleep(0)
        client.write(body)
        (await receiver.next_request()).answer()
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        await asyncio.wait_for(closing, TIMEOUT)

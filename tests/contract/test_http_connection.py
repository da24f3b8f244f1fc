"""How the HTTP listener keeps a connection: in order, within bounds and time, and who is gone is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fabric.errors import LinkBroken
from fabric.links.http.request_reader import MAX_HEAD_BYTES
from tests.contract.http_client import BOTH, LEGACY, STREAM, TIMEOUT, Client, modern, request
from tests.contract.http_receiver import House, open_house

UP = {"/livez": lambda: (200, b"up", "text/plain")}
CLOSED = pytest.mark.parametrize("way", ["fin", "half", "reset"])


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = await open_house(pages=UP)
    yield house
    await house.listener.aclose()


@pytest.fixture
async def hasty() -> AsyncIterator[House]:
    """One that waits for nobody."""
    house = await open_house(pages=UP, request_timeout=3.0, stall_timeout=0.4, idle_timeout=3.0, keep_alive_timeout=0.1)
    yield house
    await house.listener.aclose()


async def rest(client: Client) -> bytes:
    """Everything until the other end closes."""
    async with asyncio.timeout(TIMEOUT):
        return await client.reader.read()


async def test_an_open_request_has_no_task(house: House) -> None:
    async with await house.client() as client, await house.client() as other:
        before = len(asyncio.all_tasks())
        client.send("POST", "/mcp", *modern("tools/list"))
        other.send("GET", "/mcp", STREAM)
        guests = [await house.guest(), await house.guest()]
        guests[1].link.send(b"")
        assert len(asyncio.all_tasks()) == before


async def test_a_client_that_asks_for_it_gets_the_connection_closed_after_its_answer(house: House) -> None:
    async with await house.client() as client:
        headers, body = modern("tools/list")
        client.send("POST", "/mcp", headers | {"Connection": "close"}, body)
        client.send("POST", "/mcp", headers, body)  # and nothing behind it is read
        (await house.guest()).answer()
        assert (await client.reply()).headers["connection"] == "close"
        assert await rest(client) == b""
        assert house.guests.empty()
        assert house.listener.refusals == {}


async def test_an_http_1_0_client_gets_its_answer_and_the_end(house: House) -> None:
    async with await house.client() as client:
        client.write(b"GET /livez HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
        reply = await client.reply()
        assert (reply.status, reply.body, reply.headers["connection"]) == (200, b"up", "close")
        assert await rest(client) == b""


@pytest.mark.parametrize("piece", [1, 7, 100])
async def test_a_body_in_chunks_is_read_wherever_they_are_cut(house: House, piece: int) -> None:
    headers, body = modern("tools/call", name="echo", arguments={"text": "x" * 300})
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:100], body[100:101], body[101:])) + b"0\r\n\r\n"
    async with await house.client() as client:
        client.send("POST", "/mcp", headers | {"Transfer-Encoding": "chunked"})
        for start in range(0, len(chunks), piece):
            client.write(chunks[start : start + piece])
            await asyncio.sleep(0)
        guest = await house.guest()
        assert guest.message is not None
        assert guest.message.frame == body
        guest.answer()
        assert (await client.reply()).status == 200


async def test_a_head_request_is_answered_without_a_body(house: House) -> None:
    async with await house.client() as client:
        client.send("HEAD", "/livez", {})
        reply = await client.head()
        assert (reply.status, reply.headers["content-length"]) == (200, "2")
        assert (await client.ask("GET", "/livez", {})).body == b"up"
        client.send("HEAD", "/mcp", BOTH)
        assert (await client.head()).status == 405


@pytest.mark.requirement("S03")
async def test_there_is_one_host_and_an_absolute_target_says_which(house: House) -> None:
    async with await house.client() as client:
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
async def test_what_a_client_offers_or_prefers_is_no_demand(house: House, offer: dict[str, str]) -> None:
    headers, body = modern("tools/list")
    async with await house.client() as client:
        for chunked in (False, True, False):  # pipelined, so that nothing of what follows may be lost
            if chunked:
                client.send("POST", "/mcp", headers | offer | {"Transfer-Encoding": "chunked"})
                client.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            else:
                client.send("POST", "/mcp", headers | offer, body)
        client.send("GET", "/mcp", STREAM | offer)
        client.send("GET", "/livez", offer)
        for _ in range(3):
            frame = (await house.guest()).answer()
            reply = await client.head()
            while reply.status == 100:
                reply = await client.head()
            assert reply.status == 200
            assert await client.reader.readexactly(int(reply.headers["content-length"])) == frame
        (await house.guest()).link.finish()
        assert (await client.reply()).headers["content-type"] == "text/event-stream"
        assert (await client.reply()).body == b"up"
        assert house.listener.refusals == {}


async def test_an_offer_to_upgrade_from_http_1_0_is_not_seen(house: House) -> None:
    async with await house.client() as client:
        client.write(b"GET /livez HTTP/1.0\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert (await client.reply()).body == b"up"
        assert await rest(client) == b""


@pytest.mark.parametrize(("path", "status"), [("/mcp", 400), ("/ws", 404)])
async def test_a_websocket_is_refused_in_words_where_there_is_none_and_the_connection_lives(
    house: House, path: str, status: int
) -> None:
    async with await house.client() as client:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "eA=="}
        reply = await client.ask("GET", path, upgrade)
        assert (reply.status, "/ws" in reply.json["error"]["message"] or status == 404) == (status, True)
        assert (await client.ask("GET", "/livez", {})).body == b"up"


async def test_a_client_that_wants_a_tunnel_is_refused_with_its_connection(house: House) -> None:
    async with await house.client() as client:
        client.write(b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n\x16\x03\x01")
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (404, "close")
        assert await rest(client) == b""


@pytest.mark.requirement("P12")
@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_a_request_that_could_hide_another_is_refused_with_its_connection(house: House, framing: bytes) -> None:
    async with await house.client() as client:
        client.write(
            b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n" + framing + b"0\r\n\r\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (400, "close")
        assert await rest(client) == b""


@pytest.mark.requirement("P12")
async def test_a_head_over_the_limit_is_refused_so_that_its_client_can_read_it(house: House) -> None:
    async with await house.client() as client:
        client.send("GET", "/livez", {"X": "x" * (64 * MAX_HEAD_BYTES)})
        reply = await client.reply()
        assert (reply.status, reply.json["error"]["data"]["reason"]) == (431, "too_large")
        assert await rest(client) == b""
        assert house.listener.refusals == {431: 1}


@pytest.mark.requirement("P12")
async def test_rubbish_behind_a_request_waits_for_its_answer(house: House) -> None:
    async with await house.client() as client:
        client.send("POST", "/mcp", *modern("tools/list"))
        client.write(b"\x00rubbish\r\n\r\n")
        guest = await house.guest()
        guest.link.send(b"{}")
        frame = guest.answer()
        assert (await client.reply()).body == b"data: {}\n\ndata: " + frame + b"\n\n"
        assert (await client.reply()).status == 400
        assert await rest(client) == b""


async def test_a_client_that_waits_to_continue_is_refused_instead_where_it_would_be(house: House) -> None:
    for path, length, status in (("/none/mcp", 10, 404), ("/mcp", 10**9, 413)):
        async with await house.client() as client:
            client.send("POST", path, LEGACY | {"Expect": "100-continue", "Content-Length": str(length)})
            reply = await client.reply()
            assert (reply.status, reply.headers["connection"]) == (status, "close")
            assert await rest(client) == b""


# ------------------------------------------------------------ pipelining
async def test_ten_thousand_pipelined_requests_are_answered_in_order(house: House) -> None:
    async with await house.client() as client:

        async def answer() -> None:
            for _ in range(5000):
                (await house.guest()).answer()

        answering = asyncio.ensure_future(answer())
        for id in range(5000):
            client.send("POST", "/mcp", LEGACY, request("ping", id=id))
            client.send("GET", "/livez", {})
        for id in range(5000):
            assert (await client.reply()).json["id"] == id
            assert (await client.reply()).body == b"up"
        await answering


async def test_a_client_is_not_read_far_ahead_of_its_answers(house: House) -> None:
    async with await house.client() as client:
        for id in range(200):
            client.send("POST", "/mcp", LEGACY, request("ping", id=id, pad="x" * 100_000))
        sending = asyncio.ensure_future(client.writer.drain())
        first = await house.guest()
        assert not (await asyncio.wait([sending], timeout=0.2))[0]
        assert house.guests.empty()
        first.answer()
        for id in range(200):
            assert (await client.reply()).json["id"] == id
            if id < 199:
                (await house.guest()).answer()
        await asyncio.wait_for(sending, TIMEOUT)


async def test_a_client_that_takes_no_answers_is_served_no_further_requests(house: House) -> None:
    async with await house.client() as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # every asyncio transport of a socket has it
        count = 50
        for id in range(count):
            client.send("POST", "/mcp", LEGACY, request("ping", id=id))
        served = 0
        while True:
            try:
                guest = await asyncio.wait_for(house.guests.get(), 0.3)
            except TimeoutError:
                break
            guest.answer("x" * 1_000_000)
            served += 1
        assert served < count / 2
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
        for id in range(count):
            if id >= served:
                (await house.guest()).answer()
            assert (await client.reply()).json["id"] == id


@pytest.mark.requirement("L07", "P06")
@CLOSED
@pytest.mark.parametrize("behind", [0, 1, 20])
async def test_a_client_is_heard_leaving_whatever_it_has_sent_ahead(house: House, way: str, behind: int) -> None:
    client = await house.client()
    for id in range(behind + 1):
        client.send("POST", "/mcp", *modern("tools/list", id=id))
    guest = await house.guest()
    if way == "half":
        client.writer.write_eof()  # it would still read, but nobody can tell
    elif way == "fin":
        client.writer.close()
    else:
        client.writer.transport.abort()
    assert isinstance(await guest.left(), LinkBroken)
    assert house.guests.empty()
    if way == "half":
        assert await rest(client) == b""
        client.writer.close()


# ------------------------------------------------------------ time
@pytest.mark.parametrize("sent", [b"P", b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n"])
async def test_a_head_that_trickles_in_is_waited_for_so_long_and_no_longer(hasty: House, sent: bytes) -> None:
    async with await hasty.client() as client:
        client.write(sent)
        answered = asyncio.ensure_future(client.reply())
        while not (await asyncio.wait([answered], timeout=0.02))[0]:
            client.write(b"X" if len(sent) > 1 else b"")
        reply = answered.result()
        assert (reply.status, reply.headers["connection"]) == (408, "close")
        assert await rest(client) == b""


async def test_each_head_has_a_time_of_its_own() -> None:
    house = await open_house(pages=UP, request_timeout=3.0, idle_timeout=60.0)
    async with await house.client() as client:
        for _ in range(4):
            client.write(b"GET /livez HTTP/1.1\r\n")
            await asyncio.sleep(0.8)
            client.write(b"Host: localhost\r\n\r\n")
            assert (await client.reply()).status == 200
        client.write(b"GET /livez HTTP/1.1\r\n")
        assert (await client.reply()).status == 408
    await house.listener.aclose()


async def test_a_body_may_take_its_time_but_not_stand_still(hasty: House) -> None:
    headers, body = modern("tools/call", name="echo", arguments={"text": "x" * 1000})
    async with await hasty.client() as client:
        client.send("POST", "/mcp", headers | {"Content-Length": str(len(body))})
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for start in range(0, len(body), 200):
            client.write(body[start : start + 200])
            await asyncio.sleep(0.6)
        assert loop.time() - begun > 3.0
        (await hasty.guest()).answer()
        assert (await client.reply()).status == 200
        client.send("POST", "/mcp", headers | {"Content-Length": str(len(body))})
        client.write(body[:100])
        assert (await client.reply()).status == 408
        assert await rest(client) == b""
        assert hasty.guests.empty()


async def test_an_idle_connection_is_closed_without_a_word(hasty: House) -> None:
    async with await hasty.client() as fresh, await hasty.client() as used:
        assert (await used.ask("GET", "/livez", {})).status == 200
        assert await rest(fresh) == b""
        assert await rest(used) == b""


async def test_who_waits_for_an_answer_is_never_idle(hasty: House) -> None:
    async with await hasty.client() as client, await hasty.client() as idle:
        client.send("POST", "/mcp", *modern("tools/list"))
        guest = await hasty.guest()
        assert await rest(idle) == b""
        guest.answer()
        assert (await client.reply()).status == 200


async def test_a_client_that_does_not_take_its_last_answer_is_dropped(hasty: House) -> None:
    client = await hasty.client()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # as above
    headers, body = modern("tools/list")
    client.send("POST", "/mcp", headers | {"Connection": "close"}, body)
    (await hasty.guest()).answer("x" * 30_000_000)

    async def write() -> None:
        while True:
            client.write(b"x")
            await client.writer.drain()
            await asyncio.sleep(0.01)

    with pytest.raises(ConnectionError):  # it is told that nobody is there
        await asyncio.wait_for(write(), TIMEOUT)
    client.writer.close()


async def test_a_request_that_is_arriving_when_the_door_closes_is_answered() -> None:
    house = await open_house(close_timeout=5.0)
    headers, body = modern("tools/list")
    async with await house.client() as client:
        client.send("POST", "/mcp", headers | {"Content-Length": str(len(body)), "Expect": "100-continue"})
        assert (await client.head()).status == 100
        closing = asyncio.ensure_future(house.listener.aclose())
        await asyncio.sleep(0)
        client.write(body)
        (await house.guest()).answer()
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        await asyncio.wait_for(closing, TIMEOUT)

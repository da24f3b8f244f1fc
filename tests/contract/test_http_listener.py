"""The Streamable HTTP listener over real sockets: both eras, sessions, streams, disconnects and closing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import AsyncIterator

import pytest

from fabric.errors import LinkBroken, LinkClosed, LinkRefused
from fabric.links.base import Purpose, RequestLink
from fabric.links.http.listener import listen
from fabric.links.http.settings import HttpSettings
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message
from tests.contract.http_client import BOTH, LEGACY, STREAM, TIMEOUT, Client, modern, request
from tests.contract.http_receiver import SERVERS, Receiver, open_receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = await open_receiver()
    yield receiver
    await receiver.listener.aclose()


@pytest.mark.requirement("L07")
async def test_a_modern_request_is_answered_as_json_when_nothing_comes_before_the_answer(receiver: Receiver) -> None:
    async with await receiver.client() as client:
        headers, body = modern("tools/call", id="a", name="echo", arguments={})
        client.send("POST", "/echo/mcp", headers | {"Mcp-Session-Id": "ignored", "Mcp-Param-Region": "=?base64?w6k=?="}, body)
        received = await receiver.next_request()
        assert received.message is not None
        assert received.message.frame == body
        assert (received.info.purpose, received.info.server, received.info.session) == (Purpose.POST, "echo", "")
        assert received.info.version == "2026-07-28"
        assert received.info.params == (("region", "é"),)
        frame = received.answer()
        reply = await client.reply()
        assert (reply.status, reply.body) == (200, frame)
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert "date" in reply.headers
        assert isinstance(received.send_error(), LinkClosed)


@pytest.mark.requirement("L07", "P05")
async def test_frames_before_the_answer_make_it_a_stream_of_events_in_order(receiver: Receiver) -> None:
    async with await receiver.client() as client:
        client.send("POST", "/mcp", *modern("tools/list"))
        received = await receiver.next_request()
        received.link.send(b'{"n":1}')
        head = await client.head()
        assert head.headers["content-type"] == "text/event-stream"
        assert head.headers["x-accel-buffering"] == "no"
        assert head.headers["cache-control"] == "no-cache"
        assert await client.chunk() == b'data: {"n":1}\n\n'
        received.link.send(b'{"n":\n2}', event="x.7")
        assert await client.chunk() == b'id: x.7\ndata: {"n":\ndata: 2}\n\n'
        frame = received.answer()
        assert await client.chunk() == b"data: " + frame + b"\n\n"
        assert await client.chunk() == b""
        assert isinstance(received.send_error(), LinkClosed)
        client.send("POST", "/mcp", *modern("tools/list"))  # the connection serves on
        (await receiver.next_request()).answer()
        assert (await client.reply()).status == 200


@pytest.mark.requirement("L08")
async def test_a_session_is_established_used_streamed_and_ended(receiver: Receiver) -> None:
    async with await receiver.client() as client, await receiver.client() as other:
        client.send("POST", "/mcp", BOTH, request("initialize"))
        received = await receiver.next_request()
        received.link.establish("token-1")
        received.answer()
        assert (await client.reply()).headers["mcp-session-id"] == "token-1"

        client.send("POST", "/mcp", LEGACY, b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        received = await receiver.next_request()
        assert (received.info.session, received.info.version) == ("s1", "2025-11-25")
        received.link.accept()
        reply = await client.reply()
        assert (reply.status, reply.body) == (202, b"")

        other.send("GET", "/mcp", STREAM | {"Last-Event-ID": "s.4"})
        received = await receiver.next_request()
        assert (received.info.purpose, received.info.last_event) == (Purpose.EVENT_STREAM, "s.4")
        received.link.send(b"", event="s.0")
        assert (await other.head()).status == 200
        assert await other.chunk() == b"id: s.0\nretry: 1000\ndata:\n\n"
        received.link.finish()
        assert await other.chunk() == b""

        client.send("DELETE", "/mcp", LEGACY)
        received = await receiver.next_request()
        assert received.info.purpose is Purpose.DELETE_SESSION
        received.link.accept()
        assert (await client.reply()).status == 200


@pytest.mark.requirement("L08", "P01")
async def test_a_legacy_client_may_send_a_response_and_a_modern_one_may_not(receiver: Receiver) -> None:
    response = b'{"jsonrpc":"2.0","id":0,"result":{}}'
    async with await receiver.client() as client:
        client.send("POST", "/mcp", LEGACY, response)
        received = await receiver.next_request()
        assert received.message is not None
        assert received.message.kind is jsonrpc.MessageKind.RESPONSE
        received.link.accept()
        assert (await client.reply()).status == 202
        reply = await client.ask("POST", "/mcp", BOTH | {"MCP-Protocol-Version": "2026-07-28"}, response)
        assert (reply.status, reply.json["error"]["code"]) == (400, jsonrpc.INVALID_REQUEST)


@pytest.mark.requirement("L07", "P06")
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_disconnect_is_noticed_at_once(receiver: Receiver, streaming: bool) -> None:
    client = await receiver.client()
    client.send("POST", "/mcp", *modern("tools/list"))
    received = await receiver.next_request()
    if streaming:
        received.link.send(b"{}")
        await client.head()
    client.writer.close()
    assert isinstance(await received.disconnected(), LinkBroken)
    with pytest.raises(LinkBroken):
        received.link.send(b"{}", final=True)


async def test_a_disconnect_after_a_large_body_is_noticed(receiver: Receiver) -> None:
    client = await receiver.client()
    client.send("POST", "/mcp", *modern("tools/call", name="echo", arguments={"text": "x" * 2_000_000}))
    received = await receiver.next_request()
    client.writer.close()
    assert isinstance(await received.disconnected(), LinkBroken)


async def test_a_disconnect_during_the_second_pipelined_request_is_noticed(receiver: Receiver) -> None:
    client = await receiver.client()
    client.send("POST", "/mcp", *modern("tools/list", id=1))
    client.send("POST", "/mcp", *modern("tools/list", id=2))
    (await receiver.next_request()).answer()
    received = await receiver.next_request()
    assert (await client.reply()).json["id"] == 1
    client.writer.close()
    assert isinstance(await received.disconnected(), LinkBroken)


async def test_sending_while_the_connection_breaks_raises_only_link_broken(receiver: Receiver) -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    for _ in range(20):
        client = await receiver.client()
        client.send("POST", "/mcp", *modern("tools/list"))
        received = await receiver.next_request()
        client.writer.transport.abort()
        with contextlib.suppress(LinkBroken):
            while True:
                received.link.send(b"{}")
                await asyncio.sleep(0)
        assert isinstance(await received.disconnected(), LinkBroken)
    assert failures == []


async def test_a_disconnect_of_a_get_stream_is_noticed(receiver: Receiver) -> None:
    client = await receiver.client()
    client.send("GET", "/mcp", STREAM)
    received = await receiver.next_request()
    received.link.send(b"")
    await client.head()
    assert await client.chunk() == b":\n\n"
    client.writer.transport.abort()
    assert isinstance(await received.disconnected(), LinkBroken)


def data_segments(client: Client) -> int:
    """How many TCP segments with data have arrived: tcpi_data_segs_in of Linux's tcp_info."""
    info = client.writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
    return int(struct.unpack_from("I", info, 152)[0])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the segments of a socket")
async def test_frames_of_one_turn_leave_in_one_write(receiver: Receiver) -> None:
    async with await receiver.client() as client:
        before = data_segments(client)
        client.send("POST", "/mcp", *modern("tools/list"))
        received = await receiver.next_request()
        for n in range(20):
            received.link.send(b'{"n":%d}' % n)
        received.answer()
        assert (await client.reply()).body.count(b"data: ") == 21
        assert data_segments(client) - before == 1


async def test_drain_waits_for_a_slow_client_and_raises_when_it_disconnects(receiver: Receiver) -> None:
    client = await receiver.client()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # as above
    client.send("POST", "/mcp", *modern("tools/list"))
    received = await receiver.next_request()
    received.link.send(b'"' + b"x" * 16_000_000 + b'"')
    await asyncio.sleep(0)
    draining = asyncio.ensure_future(received.link.drain())
    done, _ = await asyncio.wait([draining], timeout=0.1)
    assert not done
    client.writer.transport.abort()
    with pytest.raises(LinkBroken):
        await asyncio.wait_for(draining, TIMEOUT)


@pytest.mark.requirement("L07")
async def test_a_silent_stream_is_kept_open_by_comments() -> None:
    receiver = await open_receiver(keep_alive_timeout=0.05)
    async with await receiver.client() as client:
        client.send("POST", "/mcp", *modern("subscriptions/listen"))
        received = await receiver.next_request()
        received.link.send(b"{}")
        await client.head()
        assert await client.chunk() == b"data: {}\n\n"
        assert await client.chunk() == b":\n\n"
        assert await client.chunk() == b":\n\n"
    await receiver.listener.aclose()


@pytest.mark.requirement("L16")
@pytest.mark.parametrize(
    ("path", "server"),
    [
        ("/mcp", "default"),
        ("/mcp/", "default"),
        ("/mcp/?x=1", "default"),
        ("/%6Dcp", "default"),
        ("/echo/mcp", "echo"),
        ("/echo/mcp/", "echo"),
        ("/%65cho/m%63p/", "echo"),
        ("/a%20b%2Fc/mcp", "odd"),
        ("/a%20b%2Fc/mcp/", "odd"),
        ("/echo/mcp?x=1", "echo"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/tools"])
async def test_a_path_names_a_server(path: str, server: str, prefix: str) -> None:
    receiver = await open_receiver(path_prefix=prefix)
    async with await receiver.client() as client:
        client.send("POST", prefix + path, *modern("tools/list"))
        received = await receiver.next_request()
        assert received.info.server == server
        received.answer()
        assert (await client.reply()).status == 200
    await receiver.listener.aclose()


async def test_a_client_that_expects_100_continue_gets_it(receiver: Receiver) -> None:
    body = request("ping")
    async with await receiver.client() as client:
        client.send("POST", "/mcp", LEGACY | {"Expect": "100-continue", "Content-Length": str(len(body))})
        assert (await client.head()).status == 100
        client.write(body)
        (await receiver.next_request()).answer()
        assert (await client.reply()).status == 200


async def test_pipelined_requests_are_answered_in_order(receiver: Receiver) -> None:
    async with await receiver.client() as client:
        for id in (1, 2, 3):
            client.send("POST", "/mcp", LEGACY, request("ping", id=id))
        for id in (1, 2, 3):
            received = await receiver.next_request()
            assert receiver.requests.empty()
            received.answer()
            assert (await client.reply()).json["id"] == id


async def test_an_http_1_0_client_gets_a_stream_that_ends_with_the_connection(receiver: Receiver) -> None:
    headers, body = modern("tools/list")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    async with await receiver.client() as client:
        client.write(f"POST /mcp HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body)
        received = await receiver.next_request()
        received.link.send(b"{}")
        frame = received.answer()
        assert "transfer-encoding" not in (await client.head()).headers
        assert await asyncio.wait_for(client.reader.read(), TIMEOUT) == b"data: {}\n\ndata: " + frame + b"\n\n"


async def test_a_handler_that_raises_still_gets_its_client_a_response() -> None:
    class Broken(Receiver):
        def on_request(self, link: RequestLink, message: Message | None) -> None:
            super().on_request(link, message)
            if message is not None and message.method == "begin":
                link.send(b"{}")
            raise RuntimeError("planted")

    listener = await listen(Broken(), HttpSettings(resolve=SERVERS.get))
    failures: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(str(context["exception"])))
    async with await Client.open(listener.address) as client:
        for _ in range(2):
            reply = await client.ask("POST", "/mcp", LEGACY, request("fail"))
            assert (reply.status, reply.json["error"]["data"]["reason"]) == (500, "unavailable")
        client.send("POST", "/mcp", LEGACY, request("begin"))
        await client.closed()
    assert failures == ["planted"] * 3
    await listener.aclose()


@pytest.mark.requirement("C04")
async def test_a_port_in_use_is_refused_with_the_address(receiver: Receiver) -> None:
    port = int(receiver.listener.address.rsplit(":", 1)[1])
    with pytest.raises(LinkRefused, match=rf"127\.0\.0\.1:{port}.*in use.*choose another"):
        await listen(receiver, HttpSettings(resolve=SERVERS.get, port=port))


async def test_a_host_that_does_not_exist_is_refused(receiver: Receiver) -> None:
    with pytest.raises(LinkRefused, match=r"no-such-host\.invalid"):
        await listen(receiver, HttpSettings(resolve=SERVERS.get, host="no-such-host.invalid"))


async def test_closing_ends_streams_lets_requests_be_answered_and_frees_the_port() -> None:
    receiver = await open_receiver(close_timeout=5.0)
    port = int(receiver.listener.address.rsplit(":", 1)[1])
    async with await receiver.client() as client, await receiver.client() as stream, await receiver.client() as idle:
        stream.send("GET", "/mcp", STREAM)
        streaming = await receiver.next_request()
        streaming.link.send(b"", event="s.0")
        await stream.head()
        client.send("POST", "/mcp", *modern("tools/list"))
        received = await receiver.next_request()
        closing = asyncio.ensure_future(receiver.listener.aclose())
        assert isinstance(await streaming.disconnected(), LinkClosed)
        assert not closing.done()
        received.answer()
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        await asyncio.wait_for(closing, TIMEOUT)
        await idle.closed()
    await receiver.listener.aclose()
    again = await listen(receiver, HttpSettings(resolve=SERVERS.get, port=port))
    await again.aclose()


async def test_closing_is_bounded_by_its_timeout() -> None:
    receiver = await open_receiver(close_timeout=0.05)
    async with await receiver.client() as client, await receiver.client() as halfway:
        halfway.send("POST", "/mcp", LEGACY | {"Content-Length": "100"})
        client.send("POST", "/mcp", *modern("tools/list"))
        received = await receiver.next_request()
        await asyncio.wait_for(receiver.listener.aclose(), TIMEOUT)
        assert isinstance(await received.disconnected(), LinkClosed)
        await halfway.closed()

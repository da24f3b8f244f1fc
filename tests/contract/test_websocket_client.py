"""WebSocket links to MCP servers: the handshake and its failures, pings, compression and long answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.utils import accept_key

from fabric.errors import ConfigError, EndOfLink, LinkBroken, LinkHandshakeError, LinkOverflow, LinkTimeout
from fabric.links.settings import ConnectSettings
from fabric.links.websocket.client import connect
from fabric.links.websocket.connection import WebSocketSettings
from tests.contract.links import QUIET, WAIT
from tests.tcp_server import tcp_server
from tests.waiting import open_descriptors, until

pytestmark = pytest.mark.requirement("L06")
SECRET = "s3cret"
FRAME = b'{"jsonrpc":"2.0","method":"echo"}'
IMPATIENT = WebSocketSettings(ping_interval=0.1, ping_timeout=0.1)


@asynccontextmanager
async def server(handle: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> AsyncIterator[str]:
    """A server of a real WebSocket library; its URL."""
    options = {"subprotocols": ["mcp"], "compression": None, "ping_interval": None} | options
    async with serve(handle, "127.0.0.1", 0, logger=QUIET, **options) as serving:
        yield f"ws://127.0.0.1:{next(iter(serving.sockets)).getsockname()[1]}"


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


@asynccontextmanager
async def answering(answer: Callable[[str], bytes]) -> AsyncIterator[str]:
    """A server that answers a handshake request with bytes, and then only reads; its URL."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer((await reader.readuntil(b"\r\n\r\n")).decode()))
        await reader.read()

    async with tcp_server(respond) as port:
        yield f"ws://127.0.0.1:{port}/ws"


def accepted(request: str, *lines: str) -> bytes:
    """The right answer to a handshake request, with more header lines."""
    key = next(line.split(": ")[1] for line in request.split("\r\n") if line.lower().startswith("sec-websocket-key"))
    head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*head, f"Sec-WebSocket-Accept: {accept_key(key)}", *lines, "", ""]).encode()


async def test_the_handshake_carries_the_subprotocol_headers_and_url_credentials() -> None:
    seen: asyncio.Queue[Any] = asyncio.Queue()

    async def record(socket: ServerConnection) -> None:
        seen.put_nowait(socket.request)
        await echo(socket)

    async with server(record) as url:
        settings = ConnectSettings(headers=(("X-Tenant", "blue"), ("user-agent", "a test")))
        link = await connect(url.replace("//", f"//ann:{SECRET}@") + "/a/ws?key=" + SECRET, settings, id="one")
        request = await asyncio.wait_for(seen.get(), WAIT)
        assert request.path == f"/a/ws?key={SECRET}"
        values = [request.headers[name] for name in ("Sec-WebSocket-Protocol", "X-Tenant", "User-Agent", "Authorization")]
        assert values == ["mcp", "blue", "a test", "Basic YW5uOnMzY3JldA=="]
        assert (link.info.transport, link.info.peer) == ("websocket", f"{url}/a/ws")
        link.send(FRAME)
        assert (await asyncio.wait_for(link.receive(), WAIT)).frame == FRAME
        await link.aclose()


async def test_an_authorization_header_replaces_that_of_the_url() -> None:
    seen: asyncio.Queue[Any] = asyncio.Queue()

    async def record(socket: ServerConnection) -> None:
        seen.put_nowait(socket.request)

    async with server(record) as url:
        settings = ConnectSettings(headers=(("authorization", "Bearer token"),))
        link = await connect(url.replace("//", "//ann:old@"), settings, id="one")
        assert (await asyncio.wait_for(seen.get(), WAIT)).headers.get_all("Authorization") == ["Bearer token"]
        await link.aclose()


@pytest.mark.parametrize(
    ("answer", "mention"),
    [
        (lambda _: b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", "answered 404"),
        (lambda _: b"HTTP/1.1 401 Unauthorized\r\n\r\n", "answered 401: give its credentials"),
        (lambda _: b"HTTP/1.1 302 Found\r\nLocation: /other\r\n\r\n", "answered 302"),
        (lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "answered 200"),
        (lambda request: accepted(request, "Sec-WebSocket-Protocol: chat"), "unsupported subprotocol"),
        (lambda request: accepted(request, "Sec-WebSocket-Extensions: permessage-deflate"), "no extensions supported"),
        (lambda request: accepted(request.replace("Key: ", "Key: x")), "Sec-WebSocket-Accept"),
        (lambda request: accepted(request).replace(b"Upgrade: websocket\r\n", b""), "Upgrade"),
        (lambda request: accepted(request).replace(b"Upgrade: web", b"Upgrade web"), "invalid handshake"),
        (lambda _: b"220 smtp.example ready\r\n\r\n", "does not answer in HTTP"),
        (lambda _: b"x" * 100_000, "does not answer in HTTP"),
        (lambda _: b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: y\r\n" * 1000 + b"\r\n", "invalid handshake"),
    ],
)
async def test_a_failed_handshake_gives_its_reason_and_shows_no_secret(answer: Callable[[str], bytes], mention: str) -> None:
    async with answering(answer) as url:
        settings = ConnectSettings(headers=(("X-Key", SECRET),), timeout=WAIT)
        with pytest.raises(LinkHandshakeError, match=mention) as raised:
            await connect(url.replace("//", f"//ann:{SECRET}@") + f"?key={SECRET}", settings, id="one")
        assert url in str(raised.value)
        assert SECRET not in str(raised.value)


async def test_a_server_that_closes_instead_of_answering_is_a_handshake_error() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with tcp_server(hang_up) as port:
        with pytest.raises(LinkHandshakeError, match="closed the connection"):
            await connect(f"ws://127.0.0.1:{port}", ConnectSettings(), id="one")


async def test_the_handshake_has_its_own_timeout_after_connecting() -> None:
    async with answering(lambda request: accepted(request)[:-4]) as url:
        with pytest.raises(LinkTimeout, match=r"within 0\.2 s"):
            await connect(url, ConnectSettings(timeout=WAIT, answer_timeout=0.2), id="one")


async def test_a_cancelled_handshake_leaves_no_descriptor() -> None:
    requested = asyncio.Event()

    def never_answer(_: str) -> bytes:
        requested.set()
        return b""

    async def cancel_handshake() -> None:
        requested.clear()
        connecting = asyncio.create_task(connect(url, ConnectSettings(), id="one"))
        await asyncio.wait_for(requested.wait(), WAIT)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting

    async with answering(never_answer) as url:
        before = open_descriptors() + 1  # the event loop opens one with its first connection, and keeps it
        for _ in range(5):
            await cancel_handshake()
        await until(lambda: open_descriptors() <= before)


@pytest.mark.parametrize(
    ("url", "header"),
    [
        (f"ws://ann:{SECRET}@", None),
        (f"ws://host/#{SECRET}", None),
        (f"http://ann:{SECRET}@host", None),
        (f"ws://ann:{SECRET}@host:port/", None),
        ("ws://127.0.0.1:1", ("X-Key", f"{SECRET}\r\nX-More: 1")),
        ("ws://127.0.0.1:1", ("X Key", SECRET)),
        ("ws://127.0.0.1:1", ("Sec-WebSocket-Key", SECRET)),
        ("ws://127.0.0.1:1", ("Upgrade", SECRET)),
    ],
)
async def test_a_wrong_url_or_header_is_refused_before_anything_is_sent(url: str, header: tuple[str, str] | None) -> None:
    with pytest.raises(ConfigError) as raised:
        await connect(url, ConnectSettings(headers=(header,) if header else ()), id="one")
    assert SECRET not in str(raised.value)


async def test_messages_and_a_close_that_arrive_with_the_handshake_are_received() -> None:
    async with answering(lambda request: accepted(request) + b"\x81%c" % len(FRAME) + FRAME + b"\x88\x00") as url:
        link = await connect(url, ConnectSettings(), id="one")
        assert (await asyncio.wait_for(link.receive(), WAIT)).frame == FRAME
        with pytest.raises(EndOfLink, match="1005"):
            await asyncio.wait_for(link.receive(), WAIT)
        await link.aclose()


async def test_a_server_that_answers_no_ping_breaks_the_link_and_a_new_link_can_be_opened() -> None:
    async with answering(accepted) as url:
        link = await connect(url, ConnectSettings(), id="one", options=IMPATIENT)
        with pytest.raises(LinkBroken, match="after a ping"):
            await asyncio.wait_for(link.receive(), WAIT)
        await link.aclose()
        again = await connect(url, ConnectSettings(), id="two", options=IMPATIENT)
        with pytest.raises(LinkBroken):
            await asyncio.wait_for(again.receive(), WAIT)
        await again.aclose()


async def test_compression_is_offered_where_enabled_and_used_if_the_server_agrees() -> None:
    long = b'{"jsonrpc":"2.0","method":"%b"}' % (b"x" * 5000)
    sizes: list[int] = []

    async def count(socket: ServerConnection) -> None:
        sizes.append(len(socket.protocol.extensions))
        await echo(socket)

    for compression in ("deflate", None):
        async with server(count, compression=compression) as url:
            link = await connect(url, ConnectSettings(max_frame_bytes=10_000, compression=True), id="one")
            for _ in range(3):
                link.send(long)
                assert (await asyncio.wait_for(link.receive(), WAIT)).frame == long
            await link.aclose()
    assert sizes == [1, 0]


async def test_an_oversized_answer_is_reported_with_its_beginning() -> None:
    async def shout(socket: ServerConnection) -> None:
        await socket.send('{"jsonrpc":"2.0","id":7,"result":"' + "x" * 100_000 + '"}')
        await socket.send(FRAME.decode())
        await socket.wait_closed()

    async with server(shout) as url:
        link = await connect(url, ConnectSettings(max_frame_bytes=1000), id="one")
        with pytest.raises(LinkOverflow, match="1000 bytes") as raised:
            await asyncio.wait_for(link.receive(), WAIT)
        assert raised.value.head.startswith(b'{"jsonrpc":"2.0","id":7,')
        assert (await asyncio.wait_for(link.receive(), WAIT)).frame == FRAME
        await link.aclose()

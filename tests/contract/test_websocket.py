"""WebSockets at the HTTP listener, with a real client: the upgrade, messages, closing, and pings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from fabric.errors import EndOfLink, LinkBroken, LinkError, LinkOverflow
from fabric.links.base import Link
from fabric.links.http.listener import HttpListener, listen
from fabric.links.http.settings import HttpSettings
from fabric.links.websocket.connection import WebSocketSettings
from fabric.security.access import AccessRules
from fabric.security.auth.basic import Basic
from tests.contract.http_client import TIMEOUT, Client, modern
from tests.contract.http_receiver import SERVERS, Receiver

UPGRADE = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
IMPATIENT = WebSocketSettings(ping_interval=0.1, ping_timeout=0.1)
PATIENT = WebSocketSettings(ping_interval=0.1, ping_timeout=3.0)
LONG = 4.0
"""Seconds after which even PATIENT drops a peer that answers no ping."""

pytestmark = pytest.mark.requirement("L06")


async def echo(link: Link) -> None:
    """Send everything back until the link ends."""
    try:
        while True:
            try:
                link.send((await link.receive()).frame)
            except LinkOverflow as error:
                link.send(b'{"overflow":%d}' % len(error.head))
    except LinkError:
        pass


class RecordingEcho:
    """A handler that echoes, and records each link and its end."""

    def __init__(self) -> None:
        self.links: asyncio.Queue[Link] = asyncio.Queue()
        self.ends: asyncio.Queue[LinkError] = asyncio.Queue()

    async def __call__(self, link: Link) -> None:
        self.links.put_nowait(link)
        await echo(link)
        try:
            await link.receive()
        except LinkError as error:
            self.ends.put_nowait(error)

    async def link(self) -> Link:
        return await asyncio.wait_for(self.links.get(), TIMEOUT)

    async def end(self) -> LinkError:
        return await asyncio.wait_for(self.ends.get(), TIMEOUT)


Open = Callable[..., Any]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Opens listeners, which echo by default, and closes them when the test ends."""
    listeners: list[HttpListener] = []

    async def open_listener(handler: Any = echo, **settings: Any) -> HttpListener:
        chosen = HttpSettings(resolve=SERVERS.get, **{"close_timeout": 0.2} | settings)
        listeners.append(await listen(Receiver(), chosen, handler))
        return listeners[-1]

    yield open_listener
    for listener in listeners:
        await listener.aclose()


def dial(listener: HttpListener, path: str = "/ws", **options: Any) -> connect:
    options = {"compression": None, "ping_interval": None, "subprotocols": [Subprotocol("mcp")]} | options
    return connect(listener.address.replace("http", "ws") + path, **options)


def ask(id: int, text: str = "") -> str:
    return f'{{"jsonrpc":"2.0","id":{id},"method":"echo","params":{{"text":"{text}"}}}}'


async def answer(client: ClientConnection) -> str | bytes:
    return await asyncio.wait_for(client.recv(), TIMEOUT)


async def test_each_message_is_a_text_frame_and_the_subprotocol_is_mcp(opened: Open) -> None:
    async with dial(await opened()) as client:
        assert client.subprotocol == "mcp"
        await client.send(ask(1, "h\u00e9llo"))
        assert await answer(client) == ask(1, "h\u00e9llo")


@pytest.mark.requirement("L16")
@pytest.mark.parametrize(
    ("path", "server"), [("/ws", "default"), ("/", "default"), ("/echo/ws", "echo"), ("/a%20b%2Fc/ws", "odd")]
)
async def test_the_path_names_the_server(opened: Open, path: str, server: str) -> None:
    recording = RecordingEcho()
    async with dial(await opened(recording), path):
        info = (await recording.link()).info
        assert (info.server, info.transport, info.principal) == (server, "websocket", "")
        assert info.peer.startswith("127.0.0.1:")


async def test_a_client_without_a_subprotocol_is_accepted_and_one_with_another_is_refused(opened: Open) -> None:
    listener = await opened()
    async with dial(listener, subprotocols=None) as client:
        assert client.subprotocol is None
    with pytest.raises(InvalidStatus, match="400"):
        await dial(listener, subprotocols=["chat"])


@pytest.mark.parametrize(
    ("path", "changes", "status"),
    [
        ("/ws", {"Upgrade": None, "Connection": None}, 426),
        ("/ws", {"Upgrade": "h2c"}, 426),
        ("/ws", {"Connection": "keep-alive"}, 426),
        ("/ws", {"Sec-WebSocket-Key": None}, 400),
        ("/ws", {"Sec-WebSocket-Key": "eA=="}, 400),
        ("/ws", {"Sec-WebSocket-Version": "8"}, 400),
        ("/ws", {"Content-Length": "2"}, 400),
        ("/", {"Upgrade": None, "Connection": None}, 404),
        ("/none/ws", {}, 404),
        ("/other", {}, 404),
        ("/mcp", {}, 400),
        ("/ws", {"Host": "evil.example"}, 421),
        ("/ws", {"Origin": "https://evil.example"}, 403),
    ],
)
async def test_an_invalid_upgrade_is_refused_with_an_http_status(
    opened: Open, path: str, changes: dict[str, Any], status: int
) -> None:
    headers = {name: value for name, value in (UPGRADE | changes).items() if value is not None}
    listener = await opened()
    async with await Client.open(listener.address) as client:
        reply = await client.ask("GET", path, headers, b"{}" if "Content-Length" in headers else None)
        assert reply.status == status
        assert reply.json["error"]["message"]
        if status == 426:
            assert (reply.headers["upgrade"], reply.headers["sec-websocket-version"]) == ("websocket", "13")
    assert listener.refusals == {status: 1}


async def test_the_root_of_a_websocket_only_port_explains_itself() -> None:
    listener = await listen(None, HttpSettings(resolve=SERVERS.get, close_timeout=0.2), echo)
    async with await Client.open(listener.address.replace("ws://", "http://")) as client:
        reply = await client.ask("GET", "/", {})
        assert (reply.status, reply.headers["upgrade"]) == (426, "websocket")
        assert "for clients of ws:// URLs" in reply.json["error"]["message"]
        posted = await client.ask("POST", "/", {}, b"{}")
        assert (posted.status, posted.json["error"]["message"]) == (405, "POST is not allowed here; GET, OPTIONS are")
    await listener.aclose()


@pytest.mark.parametrize("offered", ["WebSocket, h2c", "h2c,websocket", "foo/2, websocket, bar"])
async def test_a_websocket_offered_among_other_upgrades_is_accepted(opened: Open, offered: str) -> None:
    async with await Client.open((await opened()).address) as client:
        client.send("GET", "/ws/", UPGRADE | {"Upgrade": offered})
        reply = await client.head()
        assert (reply.status, reply.headers["upgrade"]) == (101, "websocket")


async def test_a_handshake_with_content_length_zero_is_accepted(opened: Open) -> None:
    async with await Client.open((await opened()).address) as client:
        client.send("GET", "/ws", UPGRADE | {"Content-Length": "0"})
        assert (await client.head()).status == 101


async def test_only_get_opens_a_websocket(opened: Open) -> None:
    async with await Client.open((await opened()).address) as client:
        reply = await client.ask("POST", "/ws", UPGRADE, b"{}")
        assert (reply.status, reply.headers["allow"]) == (405, "GET, OPTIONS")


@pytest.mark.requirement("S03")
async def test_the_access_rules_of_the_listener_apply_to_upgrades(opened: Open) -> None:
    recording = RecordingEcho()
    rules = AccessRules(allowed_origins=("https://app.example",))
    listener = await opened(recording, access=rules, authenticator=Basic("ann", "secret"))
    with pytest.raises(InvalidStatus, match="401"):
        await dial(listener)
    credentials = {"Authorization": "Basic YW5uOnNlY3JldA=="}
    with pytest.raises(InvalidStatus, match="403"):
        await dial(listener, additional_headers=credentials, origin="https://evil.example")
    async with dial(listener, additional_headers=credentials, origin="https://app.example"):
        assert (await recording.link()).info.principal == "ann"


# ---------------------------------------------------------------- messages
def masked(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(Opcode(opcode), data, fin).serialize(mask=True)


async def test_frames_may_arrive_with_an_upgrade_that_is_pipelined(opened: Open) -> None:
    receiver = Receiver()
    receiver.listener = await listen(receiver, HttpSettings(resolve=SERVERS.get, close_timeout=0.2), echo)
    frame = masked(1, ask(1).encode())
    async with await receiver.client() as client:
        client.send("POST", "/mcp", *modern("tools/list"))
        client.send("GET", "/ws", UPGRADE)
        client.write(frame[:20])
        (await receiver.next_request()).answer()
        assert (await client.reply()).status == 200
        assert (await client.head()).status == 101
        client.write(frame[20:])
        assert await client.reader.readexactly(2 + len(ask(1))) == Frame(Opcode.TEXT, ask(1).encode()).serialize(mask=False)
    await receiver.listener.aclose()


async def test_fragments_are_joined_and_an_oversized_message_is_reported_without_closing(opened: Open) -> None:
    async with dial(await opened(max_body_bytes=1000)) as client:
        text = ask(1, "h\u00e9" * 100)
        await client.send([text[:10], text[10:11], text[11:]])
        assert await answer(client) == text
        await client.send(ask(2, "x" * 1_000_000))
        await client.send([ask(3, "x" * 400)] * 5)
        assert (await answer(client), await answer(client)) == ('{"overflow":1024}',) * 2
        await client.send(ask(4))
        assert await answer(client) == ask(4)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(2, b"{}"), 1003),
        (masked(1, b'"\xff"'), 1007),
        (Frame(Opcode.TEXT, b"{}").serialize(mask=False), 1002),
        (b"\xff" * 10, 1002),
    ],
    ids=["binary", "not UTF-8", "unmasked", "no frame"],  # a mask is random, and workers of one run have to agree on names
)
async def test_a_protocol_violation_is_closed_with_its_code_and_later_frames_are_ignored(
    opened: Open, data: bytes, code: int
) -> None:
    async with dial(await opened()) as client:
        await client.send(ask(1))
        assert await answer(client) == ask(1)
        client.transport.write(data + masked(1, ask(2).encode()) * 1000)
        with pytest.raises(ConnectionClosed) as closed:
            await answer(client)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code
        assert closed.value.rcvd.reason


async def test_compression_is_negotiated_only_where_enabled(opened: Open) -> None:
    text = ask(1, "x" * 5000)
    async with dial(await opened(), compression="deflate") as client:
        assert client.protocol.extensions == []
    listener = await opened(websocket=WebSocketSettings(compression=True), max_body_bytes=10_000)
    async with dial(listener, compression="deflate") as client:
        assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"]
        for _ in range(3):
            await client.send([text[:100], text[100:]])
            assert await answer(client) == text
        await client.send(ask(2, "x" * 1_000_000))
        with pytest.raises(ConnectionClosed, match="1009"):
            await answer(client)
    async with dial(listener) as client:
        await client.send(text)
        assert await answer(client) == text


# ---------------------------------------------------------------- closing
@pytest.mark.parametrize(("code", "end"), [(1000, EndOfLink), (1001, EndOfLink), (1011, LinkBroken), (4000, LinkBroken)])
async def test_the_close_code_of_a_client_decides_how_the_link_ends(opened: Open, code: int, end: type[LinkError]) -> None:
    recording = RecordingEcho()
    async with dial(await opened(recording)) as client:
        await asyncio.wait_for(client.close(code, "b\u00fce"), TIMEOUT)
        assert client.close_code == code
    error = await recording.end()
    assert type(error) is end
    assert f"{code}: b\u00fce" in str(error)


async def test_a_connection_that_ends_without_a_close_frame_is_broken(opened: Open) -> None:
    recording = RecordingEcho()
    async with await Client.open((await opened(recording)).address) as client:
        client.send("GET", "/ws", UPGRADE)
        await client.head()
        client.writer.write_eof()
        assert type(await recording.end()) is LinkBroken
        await client.closed()


async def test_a_closing_listener_answers_pending_requests_and_closes_with_1001(opened: Open) -> None:
    asked = asyncio.Event()

    async def late(link: Link) -> None:
        frame = (await link.receive()).frame
        asked.set()
        with pytest.raises(EndOfLink):
            await link.receive()
        link.send(frame)

    listener = await opened(late, close_timeout=5.0)
    async with dial(listener) as client:
        await client.send(ask(1))
        await asyncio.wait_for(asked.wait(), TIMEOUT)
        await asyncio.wait_for(listener.aclose(), TIMEOUT)
        assert await answer(client) == ask(1)
        with pytest.raises(ConnectionClosed, match="1001"):
            await answer(client)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_handler_that_raises_closes_only_its_own_connection_and_is_reported(opened: Open) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))

    async def fail(link: Link) -> None:
        if link.info.server == "echo":
            raise RuntimeError("a bug")
        await echo(link)

    listener = await opened(fail)
    async with dial(listener) as fine, dial(listener, "/echo/ws") as client:
        with pytest.raises(ConnectionClosed):
            await answer(client)
        await fine.send(ask(1))
        assert await answer(fine) == ask(1)
    assert [str(context["exception"]) for context in reports] == ["a bug"]


# ---------------------------------------------------------------- pings
async def test_a_silent_peer_that_answers_pings_is_kept(opened: Open) -> None:
    async with dial(await opened(websocket=PATIENT)) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.recv(), LONG)
        await client.send(ask(1))
        assert await answer(client) == ask(1)


async def test_a_peer_that_answers_no_ping_is_dropped(opened: Open) -> None:
    recording = RecordingEcho()
    async with await Client.open((await opened(recording, websocket=IMPATIENT)).address) as client:
        client.send("GET", "/ws", UPGRADE)
        await client.head()
        error = await recording.end()
        assert type(error) is LinkBroken
        assert "after a ping" in str(error)
        assert await client.reader.readexactly(2) == b"\x89\x00"
        await client.closed()


async def test_a_peer_that_nobody_reads_from_is_not_dropped(opened: Open) -> None:
    go = asyncio.Event()

    async def wait(link: Link) -> None:
        await go.wait()
        await echo(link)

    async with dial(await opened(wait, websocket=PATIENT), max_size=None) as client:
        texts = [ask(id, "x" * 15_000_000) for id in range(3)]

        async def send() -> None:
            for text in texts:
                await client.send(text)

        sending = asyncio.create_task(send())
        await asyncio.wait({sending}, timeout=LONG)
        assert not sending.done()
        go.set()
        assert [await answer(client) for _ in texts] == texts
        await sending


async def test_pings_are_answered_with_their_payload(opened: Open) -> None:
    async with dial(await opened()) as client:
        waiter = await client.ping(b"are you there")
        await asyncio.wait_for(waiter, TIMEOUT)


async def test_a_thousand_clients_with_the_same_ids_each_get_their_own_answers(opened: Open) -> None:
    listener = await opened()
    clients = [dial(listener) for _ in range(1000)]
    open = [client for start in range(0, 1000, 100) for client in await asyncio.gather(*clients[start : start + 100])]
    before = len(asyncio.all_tasks())
    for client in open:
        for id in range(3):
            await client.send(ask(id, str(client.id)))
    for client in open:
        assert [await answer(client) for _ in range(3)] == [ask(id, str(client.id)) for id in range(3)]
    assert len(asyncio.all_tasks()) <= before
    await asyncio.gather(*(client.close() for client in open))

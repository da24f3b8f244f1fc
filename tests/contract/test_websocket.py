"""WebSockets at the HTTP door: who gets in, how a conversation ends, and who is still there; against a real client."""

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
from tests.contract.http_receiver import SERVERS, House

UPGRADE = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
HASTY = WebSocketSettings(ping_interval=0.1, ping_timeout=0.1)
PATIENT = WebSocketSettings(ping_interval=0.1, ping_timeout=3.0)
LONG = 4.0
"""Seconds in which even that one gives up who does not answer."""

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


class Telling:
    """A handler that echoes and tells of each link and of its end."""

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
    """Listeners that echo."""
    listeners: list[HttpListener] = []

    async def make(handler: Any = echo, **settings: Any) -> HttpListener:
        chosen = HttpSettings(resolve=SERVERS.get, **{"close_timeout": 0.2} | settings)
        listeners.append(await listen(House(), chosen, handler))
        return listeners[-1]

    yield make
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
    telling = Telling()
    async with dial(await opened(telling), path):
        info = (await telling.link()).info
        assert (info.server, info.transport, info.principal) == (server, "websocket", "")
        assert info.peer.startswith("127.0.0.1:")


async def test_a_client_that_knows_no_subprotocol_is_let_in_and_one_that_wants_another_is_not(opened: Open) -> None:
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
async def test_what_is_no_websocket_is_refused_in_http(opened: Open, path: str, changes: dict[str, Any], status: int) -> None:
    headers = {name: value for name, value in (UPGRADE | changes).items() if value is not None}
    listener = await opened()
    async with await Client.open(listener.address) as client:
        reply = await client.ask("GET", path, headers, b"{}" if "Content-Length" in headers else None)
        assert reply.status == status
        assert reply.json["error"]["message"]
        if status == 426:
            assert (reply.headers["upgrade"], reply.headers["sec-websocket-version"]) == ("websocket", "13")
    assert listener.refusals == {status: 1}


async def test_the_root_of_a_port_for_websockets_alone_says_what_it_is() -> None:
    listener = await listen(None, HttpSettings(resolve=SERVERS.get, close_timeout=0.2), echo)
    async with await Client.open(listener.address.replace("ws://", "http://")) as client:
        reply = await client.ask("GET", "/", {})
        assert (reply.status, reply.headers["upgrade"]) == (426, "websocket")
        assert "for clients of ws:// URLs" in reply.json["error"]["message"]
        posted = await client.ask("POST", "/", {}, b"{}")
        assert (posted.status, posted.json["error"]["message"]) == (405, "POST is not allowed here; GET, OPTIONS are")
    await listener.aclose()


@pytest.mark.parametrize("offered", ["WebSocket, h2c", "h2c,websocket", "foo/2, websocket, bar"])
async def test_a_websocket_is_taken_where_it_is_offered_among_others(opened: Open, offered: str) -> None:
    async with await Client.open((await opened()).address) as client:
        client.send("GET", "/ws/", UPGRADE | {"Upgrade": offered})
        reply = await client.head()
        assert (reply.status, reply.headers["upgrade"]) == (101, "websocket")


async def test_a_handshake_may_say_that_its_body_is_empty_as_javas_client_does(opened: Open) -> None:
    async with await Client.open((await opened()).address) as client:
        client.send("GET", "/ws", UPGRADE | {"Content-Length": "0"})
        assert (await client.head()).status == 101


async def test_a_websocket_is_opened_by_get_alone(opened: Open) -> None:
    async with await Client.open((await opened()).address) as client:
        reply = await client.ask("POST", "/ws", UPGRADE, b"{}")
        assert (reply.status, reply.headers["allow"]) == (405, "GET, OPTIONS")


@pytest.mark.requirement("S03")
async def test_the_doors_rules_hold_for_upgrades_too(opened: Open) -> None:
    telling = Telling()
    rules = AccessRules(allowed_origins=("https://app.example",))
    listener = await opened(telling, access=rules, authenticator=Basic("ann", "secret"))
    with pytest.raises(InvalidStatus, match="401"):
        await dial(listener)
    signed = {"Authorization": "Basic YW5uOnNlY3JldA=="}
    with pytest.raises(InvalidStatus, match="403"):
        await dial(listener, additional_headers=signed, origin="https://evil.example")
    async with dial(listener, additional_headers=signed, origin="https://app.example"):
        assert (await telling.link()).info.principal == "ann"


# ---------------------------------------------------------------- messages
def masked(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(Opcode(opcode), data, fin).serialize(mask=True)


async def test_frames_may_come_with_the_request_and_behind_another_one(opened: Open) -> None:
    house = House()
    house.listener = await listen(house, HttpSettings(resolve=SERVERS.get, close_timeout=0.2), echo)
    frame = masked(1, ask(1).encode())
    async with await house.client() as client:
        client.send("POST", "/mcp", *modern("tools/list"))
        client.send("GET", "/ws", UPGRADE)
        client.write(frame[:20])
        (await house.guest()).answer()
        assert (await client.reply()).status == 200
        assert (await client.head()).status == 101
        client.write(frame[20:])
        assert await client.reader.readexactly(2 + len(ask(1))) == Frame(Opcode.TEXT, ask(1).encode()).serialize(mask=False)
    await house.listener.aclose()


async def test_a_message_in_fragments_is_one_and_one_over_the_limit_is_told_and_the_connection_lives(opened: Open) -> None:
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
async def test_who_breaks_the_rules_is_told_which_and_nothing_after_it_is_read(opened: Open, data: bytes, code: int) -> None:
    async with dial(await opened()) as client:
        await client.send(ask(1))
        assert await answer(client) == ask(1)
        client.transport.write(data + masked(1, ask(2).encode()) * 1000)
        with pytest.raises(ConnectionClosed) as closed:
            await answer(client)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code
        assert closed.value.rcvd.reason


async def test_compression_is_agreed_on_only_where_it_is_set(opened: Open) -> None:
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


# ---------------------------------------------------------------- the end
@pytest.mark.parametrize(("code", "end"), [(1000, EndOfLink), (1001, EndOfLink), (1011, LinkBroken), (4000, LinkBroken)])
async def test_a_client_that_closes_says_how(opened: Open, code: int, end: type[LinkError]) -> None:
    telling = Telling()
    async with dial(await opened(telling)) as client:
        await asyncio.wait_for(client.close(code, "b\u00fce"), TIMEOUT)
        assert client.close_code == code
    found = await telling.end()
    assert type(found) is end
    assert f"{code}: b\u00fce" in str(found)


async def test_a_connection_that_ends_without_a_close_is_broken(opened: Open) -> None:
    telling = Telling()
    async with await Client.open((await opened(telling)).address) as client:
        client.send("GET", "/ws", UPGRADE)
        await client.head()
        client.writer.write_eof()
        assert type(await telling.end()) is LinkBroken
        await client.closed()


async def test_a_listener_that_closes_lets_open_requests_be_answered_and_says_that_it_goes_away(opened: Open) -> None:
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
async def test_a_handler_that_fails_takes_its_own_connection_with_it_and_is_told_of(opened: Open) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

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
    assert [str(context["exception"]) for context in told] == ["a bug"]


# ---------------------------------------------------------------- who is still there
async def test_a_silent_peer_that_answers_pings_is_kept(opened: Open) -> None:
    async with dial(await opened(websocket=PATIENT)) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.recv(), LONG)
        await client.send(ask(1))
        assert await answer(client) == ask(1)


async def test_a_peer_that_answers_no_ping_is_dropped(opened: Open) -> None:
    telling = Telling()
    async with await Client.open((await opened(telling, websocket=HASTY)).address) as client:
        client.send("GET", "/ws", UPGRADE)
        await client.head()
        found = await telling.end()
        assert type(found) is LinkBroken
        assert "after a ping" in str(found)
        assert await client.reader.readexactly(2) == b"\x89\x00"
        await client.closed()


async def test_a_peer_that_waits_because_nobody_reads_is_not_dropped(opened: Open) -> None:
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


async def test_pings_are_answered_with_what_they_say(opened: Open) -> None:
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

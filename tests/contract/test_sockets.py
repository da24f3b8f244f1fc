"""Listeners for TCP, TLS and Unix sockets: clients, half-closed and foreign connections, socket files and addresses."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fabric.errors import EndOfLink, InvalidFrame, LinkBroken, LinkError, LinkProtocolError, LinkRefused
from fabric.links import registry
from fabric.links.base import Link, LinkHandler
from fabric.links.settings import ConnectSettings, LinkLimits
from fabric.links.sockets import tcp, unix
from fabric.links.sockets.stream_socket import SocketConnection, SocketListener
from tests.contract.links import WAIT, authority

MESSAGE = b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"from":%d}}'
tcp_only = pytest.mark.requirement("L04")
unix_only = pytest.mark.requirement("L05")


class Echo:
    """A handler that sends every message back; it records the messages, and how each link ended."""

    def __init__(self) -> None:
        self.ends: asyncio.Queue[LinkError] = asyncio.Queue()
        self.received: list[bytes] = []
        self.attended = 0

    async def __call__(self, link: Link) -> None:
        self.attended += 1
        try:
            while True:
                try:
                    self.received.append((await link.receive()).frame)
                    link.send(self.received[-1])
                except InvalidFrame:
                    link.send(b'{"bad":1}')
        except LinkError as error:
            self.ends.put_nowait(error)

    async def end(self) -> LinkError:
        return await asyncio.wait_for(self.ends.get(), WAIT)


@asynccontextmanager
async def listening(kind: str, folder: Path, handler: LinkHandler, limits: LinkLimits | None = None) -> AsyncIterator[str]:
    """A listener of this kind; its address."""
    limits = limits or LinkLimits()
    listener: SocketListener
    if kind == "unix":
        listener = await unix.listen(handler, unix.UnixSettings(server="any", path=folder / "socket", limits=limits))
    else:
        certified = authority().certified if kind == "tls" else None
        listener = await tcp.listen(handler, tcp.TcpSettings(server="any", certified=certified, limits=limits))
    try:
        yield listener.address
    finally:
        await listener.aclose()


each_kind = pytest.mark.parametrize("kind", ["tcp", "tls", "unix"])
plain = pytest.mark.parametrize("kind", ["tcp", "unix"])
SETTINGS = ConnectSettings(trust=authority().trust)


def raw(address: str) -> socket.socket:
    """A blocking client socket, connected to an address without TLS."""
    if address.startswith("unix://"):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address.removeprefix("unix://"))
    else:
        sock = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
    sock.settimeout(WAIT)
    return sock


async def asked(link: Link, frame: bytes) -> bytes:
    link.send(frame)
    return (await asyncio.wait_for(link.receive(), WAIT)).frame


# ---------------------------------------------------------------- clients
@pytest.mark.requirement("L04", "L05")
@plain
async def test_a_thousand_clients_with_the_same_id_each_get_their_own_answer(kind: str, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))  # this process holds both ends of each
    async with listening(kind, tmp_path, Echo()) as address:
        links = [await registry.connect(address, SETTINGS, id=f"c{number}") for number in range(1000)]
        try:
            answers = await asyncio.gather(*(asked(link, MESSAGE % number) for number, link in enumerate(links)))
        finally:
            await asyncio.gather(*(link.aclose() for link in links))
    assert answers == [MESSAGE % number for number in range(1000)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@each_kind
async def test_a_client_that_does_not_read_slows_only_itself(kind: str, tmp_path: Path) -> None:
    echo = Echo()
    async with listening(kind, tmp_path, echo, LinkLimits(stall_timeout=0.5)) as address:
        slow, other = [await registry.connect(address, SETTINGS, id=id) for id in ("slow", "other")]
        big = b'{"jsonrpc":"2.0","id":1,"method":"echo","params":"%s"}' % (b"x" * 100_000)

        async def flood() -> None:
            with contextlib.suppress(LinkError):
                for _ in range(1000):
                    slow.send(big)
                    await slow.drain()

        flooding = asyncio.create_task(flood())
        for number in range(100):
            assert await asked(other, MESSAGE % number) == MESSAGE % number
        assert isinstance(await echo.end(), LinkBroken)
        assert await asked(other, MESSAGE % 1) == MESSAGE % 1
        await flooding
        await asyncio.gather(slow.aclose(), other.aclose())


# ---------------------------------------------------------------- half-closed connections and closing
@pytest.mark.requirement("L04", "L05")
@plain
async def test_a_half_closed_connection_still_gets_its_answers(kind: str, tmp_path: Path) -> None:
    echo = Echo()
    async with listening(kind, tmp_path, echo) as address:
        with raw(address) as client:
            client.sendall(b"".join(MESSAGE % number + b"\n" for number in range(3)))
            client.shutdown(socket.SHUT_WR)
            assert isinstance(await echo.end(), EndOfLink)
            assert await asyncio.to_thread(client.makefile("rb").read) == b"".join(
                MESSAGE % number + b"\n" for number in range(3)
            )


@plain
async def test_closing_while_the_client_still_sends_loses_no_answer(kind: str, tmp_path: Path) -> None:
    async def answer_and_leave(link: Link) -> None:
        await link.receive()
        link.send(b'{"last":"%s"}' % (b"x" * 300_000))

    async with listening(kind, tmp_path, answer_and_leave) as address:
        with raw(address) as client:
            client.sendall((MESSAGE % 1 + b"\n") * 500)
            assert len(await asyncio.to_thread(client.makefile("rb").readline)) == 300_012


@each_kind
async def test_a_closing_listener_answers_pending_requests(kind: str, tmp_path: Path) -> None:
    arrived, answered = asyncio.Event(), asyncio.Event()

    async def handle(link: Link) -> None:
        message = await link.receive()
        arrived.set()
        with pytest.raises(EndOfLink):
            await link.receive()
        link.send(message.frame)
        answered.set()

    async with listening(kind, tmp_path, handle) as address:
        link = await registry.connect(address, SETTINGS, id="one")
        link.send(MESSAGE % 1)
        await asyncio.wait_for(arrived.wait(), WAIT)
    assert answered.is_set()
    assert (await asyncio.wait_for(link.receive(), WAIT)).frame == MESSAGE % 1
    await link.aclose()
    with pytest.raises(LinkRefused):
        await registry.connect(address, SETTINGS, id="two")


# ---------------------------------------------------------------- foreign clients
@pytest.mark.parametrize(
    ("sent", "speaks"),
    [
        (b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "HTTP"),
        (b"OPTIONS * HTTP/1.1\r\n", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), "TLS"),
    ],
)
@plain
async def test_a_connection_that_begins_with_http_or_tls_is_closed_before_any_message_is_handled(
    kind: str, sent: bytes, speaks: str, tmp_path: Path
) -> None:
    echo = Echo()
    async with listening(kind, tmp_path, echo) as address:
        with raw(address) as client:
            client.sendall(sent + MESSAGE % 1 + b"\n")
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(client.recv, 100) == b""
        error = await echo.end()
        assert isinstance(error, LinkProtocolError)
        assert speaks in str(error)
        assert echo.received == []


async def test_a_client_that_never_completes_the_tls_handshake_is_dropped_and_delays_no_other(tmp_path: Path) -> None:
    settings = tcp.TcpSettings(server="any", certified=authority().certified, handshake_timeout=3.0)
    listener = await tcp.listen(Echo(), settings)
    with raw(listener.address) as silent, raw(listener.address) as plain:
        plain.sendall(MESSAGE % 1 + b"\n")
        link = await registry.connect(listener.address, SETTINGS, id="one")
        assert await asked(link, MESSAGE % 1) == MESSAGE % 1
        assert await asyncio.to_thread(silent.recv, 1) == b""
        await link.aclose()
    await listener.aclose()


async def test_a_client_without_the_required_certificate_is_refused() -> None:
    own = authority().certified
    asking = tcp.TcpSettings(
        server="any", certified=type(own)(certificate=own.certificate, key=own.key, clients=str(authority().trust.ca))
    )
    echo = Echo()
    listener = await tcp.listen(echo, asking)
    with pytest.raises(LinkError):
        await asked(await registry.connect(listener.address, SETTINGS, id="one"), MESSAGE % 1)
    trust = authority().trust
    shown = ConnectSettings(trust=type(trust)(ca=trust.ca, certificate=own.certificate, key=own.key))
    link = await registry.connect(listener.address, shown, id="two")
    assert await asked(link, MESSAGE % 1) == MESSAGE % 1
    assert echo.attended == 1
    await link.aclose()
    await listener.aclose()


# ---------------------------------------------------------------- TCP
@tcp_only
async def test_tcp_nodelay_and_keepalive_are_set_unless_disabled() -> None:
    options_seen: list[tuple[int, int]] = []
    for options in (tcp.TcpOptions(), tcp.TcpOptions(no_delay=False, keep_alive=0)):
        listener = await tcp.listen(Echo(), tcp.TcpSettings(server="any", options=options))
        link = await tcp.connect(listener.address, SETTINGS, id="one", options=options)
        assert await asked(link, MESSAGE % 1) == MESSAGE % 1
        for _, connection in listener._links._open.values():
            assert isinstance(connection, SocketConnection)
            sock = connection.transport.get_extra_info("socket")
            options_seen.append(
                (
                    sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                    sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                )
            )
        await link.aclose()
        await listener.aclose()
    assert [(bool(no_delay), bool(keep_alive)) for no_delay, keep_alive in options_seen] == [(True, True), (False, False)]


@tcp_only
async def test_a_port_in_use_is_refused_and_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LinkRefused, match=f"cannot listen on 127.0.0.1:{port}"):
            await tcp.listen(Echo(), tcp.TcpSettings(server="any", port=port))


@tcp_only
@pytest.mark.parametrize(
    ("host", "shown"),
    [("nobody.invalid", "nobody.invalid"), ("203.0.113.7", "203.0.113.7"), ("2001:db8::7", r"\[2001:db8::7\]")],
)
async def test_an_address_of_another_machine_is_refused_and_named(host: str, shown: str) -> None:
    with pytest.raises(LinkRefused, match=f"cannot listen on {shown}:7: .*; name an address that this machine has"):
        await tcp.listen(Echo(), tcp.TcpSettings(server="any", host=host, port=7))


# ---------------------------------------------------------------- Unix
async def unix_listener(path: Path, **settings: object) -> SocketListener:
    return await unix.listen(Echo(), unix.UnixSettings(server="any", path=path, **settings))  # type: ignore[arg-type]  # a test's


@unix_only
async def test_only_the_owner_may_connect_unless_a_mode_is_set(tmp_path: Path) -> None:
    for settings, mode in (({}, 0o600), ({"mode": 0o660}, 0o660)):
        listener = await unix_listener(tmp_path / "socket", **settings)
        assert stat.S_IMODE((tmp_path / "socket").lstat().st_mode) == mode
        await listener.aclose()


@unix_only
async def test_a_socket_file_without_a_listener_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.is_socket()
    listener = await unix_listener(path)
    link = await registry.connect(listener.address, SETTINGS, id="one")
    assert await asked(link, MESSAGE % 1) == MESSAGE % 1
    await link.aclose()
    await listener.aclose()


@unix_only
async def test_a_socket_file_with_a_listener_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listener = await unix_listener(path)
    with pytest.raises(LinkRefused, match="another process listens there"):
        await unix_listener(path)
    with socket.socket(socket.AF_UNIX) as full, contextlib.ExitStack() as stack:
        full.bind(str(tmp_path / "full"))
        full.listen(0)
        stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(tmp_path / "full"))
        with pytest.raises(LinkRefused, match="another process listens there"):
            await unix_listener(tmp_path / "full")
    link = await registry.connect(listener.address, SETTINGS, id="one")
    assert await asked(link, MESSAGE % 1) == MESSAGE % 1
    await link.aclose()
    await listener.aclose()


@unix_only
async def test_a_file_that_is_no_socket_is_never_touched(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    (tmp_path / "link").symlink_to(path)
    for each in (path, tmp_path / "link", tmp_path):
        with pytest.raises(LinkRefused):
            await unix_listener(each)
    assert path.read_text() == "data"
    assert (tmp_path / "link").is_symlink()


@unix_only
async def test_of_concurrent_listeners_on_one_dead_socket_file_one_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    results = await asyncio.gather(*(unix_listener(path) for _ in range(5)), return_exceptions=True)
    listening_ones = [each for each in results if isinstance(each, SocketListener)]
    assert len(listening_ones) == 1
    assert all(isinstance(each, LinkRefused) for each in results if each is not listening_ones[0])
    link = await registry.connect(listening_ones[0].address, SETTINGS, id="one")
    assert await asked(link, MESSAGE % 1) == MESSAGE % 1
    await link.aclose()
    await listening_ones[0].aclose()


@unix_only
async def test_closing_removes_the_socket_file_unless_it_is_kept_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    await (await unix_listener(path)).aclose()
    assert not path.exists()
    await (await unix_listener(path, remove=False)).aclose()
    assert path.is_socket()
    listener = await unix_listener(path)
    path.unlink()
    path.write_text("another's")
    await listener.aclose()
    assert path.read_text() == "another's"


@unix_only
async def test_an_unusable_path_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(LinkRefused, match="there is no folder"):
        await unix_listener(tmp_path / "missing" / "socket")
    with pytest.raises(LinkRefused, match="too long"):
        await unix_listener(tmp_path / ("x" * 120))


async def test_a_handler_that_closing_cancels_may_still_send() -> None:
    begun = asyncio.Event()

    async def handler(link: Link) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            link.send(b'{"last":"word"}')
            raise

    listener = await tcp.listen(handler, tcp.TcpSettings(server="any", close_timeout=0.1))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(listener.address.rpartition(":")[2]))
    await asyncio.wait_for(begun.wait(), WAIT)
    await asyncio.wait_for(listener.aclose(), WAIT)
    assert await asyncio.wait_for(reader.read(), WAIT) == b'{"last":"word"}\n'
    writer.close()

"""Each class of link error is provoked on each real transport; where a transport cannot raise it, the table says why."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from fabric.errors import (
    EndOfLink,
    LinkBroken,
    LinkCertificateError,
    LinkClosed,
    LinkError,
    LinkHandshakeError,
    LinkOverflow,
    LinkProtocolError,
    LinkRefused,
    LinkTimeout,
)
from fabric.links import registry
from fabric.links.settings import ConnectSettings
from fabric.links.stdio.command import ServerCommand
from fabric.links.stdio.container import Container, run_command
from fabric.links.stdio.processes import Processes
from fabric.links.stdio.server import spawn
from tests.contract.http_server import modern
from tests.contract.links import MEMBERS, WAIT, Joined, Member, SocketPeer, WebSocketPeer, authority
from tests.ports import free_port
from tests.tcp_server import tcp_server

pytestmark = pytest.mark.requirement("L01")
Provoke = Callable[[Path], Awaitable[object]]
NO_HANDSHAKE: dict[type[LinkError], str] = {
    LinkHandshakeError: "it has no handshake",
    LinkCertificateError: "it has no certificates",
}
SECRET = "s3cret-of-the-client"
PATIENT = ConnectSettings(timeout=WAIT, headers=(("X-Api-Key", SECRET),))
QUICK = ConnectSettings(timeout=0.3, answer_timeout=0.3, headers=PATIENT.headers)


def with_credentials(url: str) -> str:
    """The URL with credentials in it, where its scheme has a place for them."""
    scheme, _, rest = url.partition("://")
    return url if scheme in ("tcp", "tls", "unix") else f"{scheme}://me:{SECRET}@{rest}/mcp?key={SECRET}"


async def connect(url: str, settings: ConnectSettings = PATIENT) -> object:
    """Connect, which should fail; a link that opens all the same is closed and returned."""
    link = await registry.connect(with_credentials(url), settings, id="any")
    await link.aclose()
    return link


@asynccontextmanager
async def answering(greeting: bytes) -> AsyncIterator[str]:
    """A server that sends these bytes to every client; its address."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read()

    async with tcp_server(greet) as port:
        yield f"127.0.0.1:{port}"


# ---------------------------------------------------------------- errors of an open link
def opened(member: Member, meet: Callable[[Joined], Awaitable[object]]) -> Provoke:
    async def provoke(_: Path) -> None:
        async with member.open(max_frame_bytes=1000) as joined:
            await meet(joined)
            async with asyncio.timeout(WAIT):
                while True:
                    await joined.link.receive()

    return provoke


def peer_writes(data: bytes) -> Callable[[Joined], Awaitable[object]]:
    return lambda joined: joined.peer.write(data)


async def bytes_below_tls(joined: Joined) -> None:
    """The peer writes bytes below its TLS."""
    assert isinstance(joined.peer, SocketPeer)
    os.write(joined.peer.writer.get_extra_info("socket").fileno(), b"not a record of TLS\n" * 3)


def common(member: Member) -> dict[type[LinkError], Provoke]:
    """The errors that every open link can raise."""
    meets: dict[type[LinkError], Callable[[Joined], Awaitable[object]]] = {
        LinkClosed: lambda joined: joined.link.aclose(),
        LinkOverflow: peer_writes(b"x" * 2000 + b"\n"),
    }
    if member.bytewise:
        meets[LinkBroken] = lambda joined: joined.peer.vanish()
    if member.end is EndOfLink:
        meets[EndOfLink] = lambda joined: joined.peer.close()
    return {error: opened(member, meet) for error, meet in meets.items()}


# ---------------------------------------------------------------- errors of opening a link
async def no_such_command(_: Path) -> None:
    async with contextlib.aclosing(Processes()) as processes:
        command = ServerCommand("no-such-command")
        await spawn(command, id="any", processes=processes, inherited=os.environ, on_stderr=print, on_noise=print)


async def no_such_engine(_: Path) -> None:
    async with contextlib.aclosing(Processes()) as processes:
        command = run_command(Container(image="any", engine=("no-such-engine",)), env={}, cwd="", grace=0.2, labels={})
        await spawn(command, id="any", processes=processes, inherited=os.environ, on_stderr=print, on_noise=print)


def nobody_listens(scheme: str) -> Provoke:
    return lambda _: connect(f"{scheme}://127.0.0.1:{free_port()}")


async def plain_text_for_tls(_: Path) -> None:
    async with answering(b"+OK ready\r\n") as address:
        await connect(f"tls://{address}")


async def an_unknown_authority(_: Path) -> None:
    async with tls_server("leaf") as address:
        await connect(address)


async def another_hosts_certificate(_: Path) -> None:
    authority().sign("other", address="127.0.0.2")
    async with tls_server("other") as address:
        await connect(address, ConnectSettings(trust=authority().trust))


async def an_expired_certificate(_: Path) -> None:
    authority().sign("old", lifetime=timedelta(hours=-1))
    async with tls_server("old") as address:
        await connect(address, ConnectSettings(trust=authority().trust))


@asynccontextmanager
async def tls_server(name: str) -> AsyncIterator[str]:
    context = authority().server()
    context.load_cert_chain(authority().folder / f"{name}.pem", authority().folder / f"{name}.key")

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with tcp_server(hang_up, tls=context) as port:
        yield f"tls://127.0.0.1:{port}"


async def silence_for_tls(_: Path) -> None:
    async with answering(b"") as address:
        await connect(f"tls://{address}", QUICK)


async def a_full_queue(folder: Path) -> None:
    """A server that listens and does not accept."""
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        listening.bind(f"{folder}/full")
        listening.listen(0)
        first.connect(f"{folder}/full")
        await connect(f"unix://{folder}/full", QUICK)


@contextlib.contextmanager
def full_port() -> Iterator[int]:
    """A TCP port whose queue is full, so that the system answers no more connections."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _number in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


async def a_full_port(_: Path) -> None:
    with full_port() as port:
        await connect(f"tcp://127.0.0.1:{port}", QUICK)


async def no_such_socket(folder: Path) -> None:
    await connect(f"unix://{folder}/nobody")


def websocket_bytes(data: bytes) -> Callable[[Joined], Awaitable[object]]:
    """The peer writes bytes that are not a frame."""

    async def write(joined: Joined) -> None:
        assert isinstance(joined.peer, WebSocketPeer)
        joined.peer.socket.transport.write(data)

    return write


async def no_websocket(_: Path) -> None:
    async with answering(HTTP) as address:
        await connect(f"ws://{address}")


async def an_unknown_authority_for_websockets(_: Path) -> None:
    async with tls_server("leaf") as address:
        await connect(address.replace("tls:", "wss:"))


async def silence_for_websockets(_: Path) -> None:
    async with answering(b"") as address:
        await connect(f"ws://{address}", QUICK)


async def ask(url: str, settings: ConnectSettings = PATIENT) -> None:
    """Send a request, since an HTTP link opens no connection before that, and read until the link ends."""
    link = await registry.connect(with_credentials(url), settings, id="any")
    try:
        link.send(modern("x1"))
        async with asyncio.timeout(WAIT):
            while True:
                await link.receive()
    finally:
        await link.aclose()


def answers_http(response: bytes) -> Provoke:
    async def provoke(_: Path) -> None:
        async with answering(response) as address:
            await ask(f"http://{address}")

    return provoke


async def an_unknown_authority_for_http(_: Path) -> None:
    async with tls_server("leaf") as address:
        await ask(address.replace("tls:", "https:"))


async def a_full_port_for_http(_: Path) -> None:
    with full_port() as port:
        await ask(f"http://127.0.0.1:{port}", QUICK)


# ---------------------------------------------------------------- the table
ERRORS: tuple[type[LinkError], ...] = (
    LinkRefused, LinkHandshakeError, LinkCertificateError, LinkTimeout,
    LinkBroken, LinkProtocolError, EndOfLink, LinkClosed, LinkOverflow,
)  # fmt: skip


@dataclass
class Transport:
    """A transport and the errors that it can raise."""

    name: str
    provoke: Mapping[type[LinkError], Provoke]
    """How each error is provoked."""
    never: Mapping[type[LinkError], str] = field(default_factory=dict)
    """Why each other error cannot be."""


BY_NAME = {member.name: member for member in MEMBERS}
HTTP = b"HTTP/1.1 400 Bad Request\r\n\r\n"
TRANSPORTS = [
    Transport(
        "stdio",
        {**common(BY_NAME["child"]), LinkRefused: no_such_command},
        {
            **NO_HANDSHAKE,
            LinkTimeout: "a process has started or it has not",
            LinkProtocolError: "invalid lines on its stdout are reported and skipped",
            EndOfLink: "a server should not exit: that is LinkBroken",
        },
    ),
    Transport(
        "docker",
        {**common(BY_NAME["container"]), LinkRefused: no_such_engine},
        {
            **NO_HANDSHAKE,
            LinkTimeout: "the engine's command has started or it has not",
            LinkProtocolError: "what is no message on its stdout is told and skipped",
            EndOfLink: "a server should not exit: that is LinkBroken",
        },
    ),
    Transport(
        "memory",
        common(BY_NAME["memory"]),
        {
            **NO_HANDSHAKE,
            LinkRefused: "both ends are made at once",
            LinkTimeout: "both ends are made at once",
            LinkBroken: "only by a peer that reads nothing: test_a_peer_that_reads_nothing_for_the_stall_timeout_...",
            LinkProtocolError: "it carries whole frames",
        },
    ),
    Transport(
        "tcp",
        {
            **common(BY_NAME["tcp"]),
            LinkRefused: nobody_listens("tcp"),
            LinkTimeout: a_full_port,
            LinkProtocolError: opened(BY_NAME["tcp"], peer_writes(HTTP)),
        },
        NO_HANDSHAKE,
    ),
    Transport(
        "tls",
        {
            **common(BY_NAME["tls"]),
            LinkRefused: nobody_listens("tls"),
            LinkHandshakeError: plain_text_for_tls,
            LinkCertificateError: an_unknown_authority,
            LinkTimeout: silence_for_tls,
            LinkProtocolError: opened(BY_NAME["tls"], bytes_below_tls),
        },
    ),
    Transport(
        "unix",
        {
            **common(BY_NAME["unix"]),
            LinkRefused: no_such_socket,
            LinkTimeout: a_full_queue,
            LinkProtocolError: opened(BY_NAME["unix"], peer_writes(HTTP)),
        },
        NO_HANDSHAKE,
    ),
    Transport(
        "websocket",
        {
            **common(BY_NAME["wss"]),
            LinkRefused: nobody_listens("ws"),
            LinkHandshakeError: no_websocket,
            LinkCertificateError: an_unknown_authority_for_websockets,
            LinkTimeout: silence_for_websockets,
            LinkProtocolError: opened(BY_NAME["ws"], websocket_bytes(b"\xff" * 10)),
        },
    ),
    Transport(
        "http",
        {
            **common(BY_NAME["sse"]),
            LinkRefused: lambda _: ask(f"http://127.0.0.1:{free_port()}"),
            LinkHandshakeError: answers_http(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
            LinkCertificateError: an_unknown_authority_for_http,
            LinkTimeout: a_full_port_for_http,
            LinkBroken: opened(BY_NAME["sse"], lambda joined: joined.peer.vanish()),
            LinkProtocolError: answers_http(b"+OK ready\r\n"),
        },
    ),
]
PROVOKED = [(transport.name, error, provoke) for transport in TRANSPORTS for error, provoke in transport.provoke.items()]


def logged(error: BaseException | None) -> str:
    """All that a log could show of an error and its causes."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(error.args)]
        error = error.__cause__ or error.__context__
    return " ".join(texts)


@pytest.mark.requirement("L20")
@pytest.mark.parametrize(
    ("error", "provoke"), [each[1:] for each in PROVOKED], ids=[f"{n}-{e.__name__}" for n, e, _ in PROVOKED]
)
async def test_each_failure_raises_its_own_class(error: type[LinkError], provoke: Provoke, tmp_path: Path) -> None:
    with pytest.raises(LinkError) as raised:
        await provoke(tmp_path)
    assert type(raised.value) is error, raised.value
    assert len(str(raised.value)) > 20
    assert SECRET not in logged(raised.value)


@pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda transport: transport.name)
def test_every_class_is_provoked_or_listed_as_impossible(transport: Transport) -> None:
    assert transport.provoke.keys() | transport.never.keys() == set(ERRORS)
    assert not transport.provoke.keys() & transport.never.keys()


@pytest.mark.requirement("L04")
@pytest.mark.parametrize("provoke", [another_hosts_certificate, an_expired_certificate])
async def test_a_certificate_of_another_host_or_an_expired_one_is_refused(provoke: Provoke, tmp_path: Path) -> None:
    with pytest.raises(LinkCertificateError, match="tls://127"):
        await provoke(tmp_path)


async def test_a_trusted_certificate_is_accepted(tmp_path: Path) -> None:
    async with tls_server("leaf") as address:
        assert await connect(address, ConnectSettings(trust=authority().trust))

"""Each class of link error is provoked on each transport, for real; where a transport cannot have it, the table says why."""

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
from fabric.links.stdio.processes import Processes
from fabric.links.stdio.server import spawn
from tests.contract.http_server import modern
from tests.contract.links import MEMBERS, WAIT, Joined, Member, SocketPeer, WebSocketPeer, authority
from tests.conversing import conversing
from tests.ports import free_port

pytestmark = pytest.mark.requirement("L01")
Provoke = Callable[[Path], Awaitable[object]]
NO_HANDSHAKE: dict[type[LinkError], str] = {
    LinkHandshakeError: "it has no handshake",
    LinkCertificateError: "it has no certificates",
}
SECRET = "s3cret-of-the-client"
PATIENT = ConnectSettings(timeout=WAIT, headers=(("X-Api-Key", SECRET),))
QUICK = ConnectSettings(timeout=0.3, answer_timeout=0.3, headers=PATIENT.headers)


def secretive(url: str) -> str:
    """With credentials, where its scheme has a place for them."""
    scheme, _, rest = url.partition("://")
    return url if scheme in ("tcp", "tls", "unix") else f"{scheme}://me:{SECRET}@{rest}/mcp?key={SECRET}"


async def connect(url: str, settings: ConnectSettings = PATIENT) -> object:
    """To succeed would be the mistake, but then it is closed."""
    link = await registry.connect(secretive(url), settings, id="any")
    await link.aclose()
    return link


@asynccontextmanager
async def answering(said: bytes) -> AsyncIterator[str]:
    """A server that says one thing to whoever connects: where."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read()

    async with conversing(say) as port:
        yield f"127.0.0.1:{port}"


# ---------------------------------------------------------------- what an open link can meet
def opened(member: Member, meet: Callable[[Joined], Awaitable[object]]) -> Provoke:
    async def provoke(_: Path) -> None:
        async with member.open(max_frame_bytes=1000) as joined:
            await meet(joined)
            async with asyncio.timeout(WAIT):
                while True:
                    await joined.link.receive()

    return provoke


def says(data: bytes) -> Callable[[Joined], Awaitable[object]]:
    return lambda joined: joined.peer.write(data)


async def bytes_below_tls(joined: Joined) -> None:
    """The peer falls out of its TLS."""
    assert isinstance(joined.peer, SocketPeer)
    os.write(joined.peer.writer.get_extra_info("socket").fileno(), b"not a record of TLS\n" * 3)


def common(member: Member) -> dict[type[LinkError], Provoke]:
    """What every link can meet once it is open."""
    meets: dict[type[LinkError], Callable[[Joined], Awaitable[object]]] = {
        LinkClosed: lambda joined: joined.link.aclose(),
        LinkOverflow: says(b"x" * 2000 + b"\n"),
    }
    if member.bytewise:
        meets[LinkBroken] = lambda joined: joined.peer.vanish()
    if member.end is EndOfLink:
        meets[EndOfLink] = lambda joined: joined.peer.leave()
    return {error: opened(member, meet) for error, meet in meets.items()}


# ---------------------------------------------------------------- what stands in the way of opening one
async def no_such_command(_: Path) -> None:
    async with contextlib.aclosing(Processes()) as processes:
        command = ServerCommand("no-such-command")
        await spawn(command, id="any", processes=processes, inherited=os.environ, on_stderr=print, on_noise=print)


def nobody_listens(scheme: str) -> Provoke:
    return lambda _: connect(f"{scheme}://127.0.0.1:{free_port()}")


async def plain_text_for_tls(_: Path) -> None:
    async with answering(b"+OK ready\r\n") as where:
        await connect(f"tls://{where}")


async def an_unknown_authority(_: Path) -> None:
    async with tls_server("leaf") as where:
        await connect(where)


async def another_hosts_certificate(_: Path) -> None:
    authority().sign("other", address="127.0.0.2")
    async with tls_server("other") as where:
        await connect(where, ConnectSettings(trust=authority().trust))


async def an_old_certificate(_: Path) -> None:
    authority().sign("old", lifetime=timedelta(hours=-1))
    async with tls_server("old") as where:
        await connect(where, ConnectSettings(trust=authority().trust))


@asynccontextmanager
async def tls_server(name: str) -> AsyncIterator[str]:
    context = authority().server()
    context.load_cert_chain(authority().folder / f"{name}.pem", authority().folder / f"{name}.key")

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with conversing(hang_up, tls=context) as port:
        yield f"tls://127.0.0.1:{port}"


async def silence_for_tls(_: Path) -> None:
    async with answering(b"") as where:
        await connect(f"tls://{where}", QUICK)


async def a_full_queue(folder: Path) -> None:
    """A server that lives and does not accept."""
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        listening.bind(f"{folder}/full")
        listening.listen(0)
        first.connect(f"{folder}/full")
        await connect(f"unix://{folder}/full", QUICK)


@contextlib.contextmanager
def full_port() -> Iterator[int]:
    """The same for TCP: the system answers no more."""
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
    """The peer writes what is no frame."""

    async def write(joined: Joined) -> None:
        assert isinstance(joined.peer, WebSocketPeer)
        joined.peer.socket.transport.write(data)

    return write


async def no_websocket(_: Path) -> None:
    async with answering(HTTP) as where:
        await connect(f"ws://{where}")


async def an_unknown_authority_for_websockets(_: Path) -> None:
    async with tls_server("leaf") as where:
        await connect(where.replace("tls:", "wss:"))


async def silence_for_websockets(_: Path) -> None:
    async with answering(b"") as where:
        await connect(f"ws://{where}", QUICK)


async def ask(url: str, settings: ConnectSettings = PATIENT) -> None:
    """What HTTP answers is known when something was asked."""
    link = await registry.connect(secretive(url), settings, id="any")
    try:
        link.send(modern("x1"))
        async with asyncio.timeout(WAIT):
            while True:
                await link.receive()
    finally:
        await link.aclose()


def answers_http(said: bytes) -> Provoke:
    async def provoke(_: Path) -> None:
        async with answering(said) as where:
            await ask(f"http://{where}")

    return provoke


async def an_unknown_authority_for_http(_: Path) -> None:
    async with tls_server("leaf") as where:
        await ask(where.replace("tls:", "https:"))


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
    """How to provoke the errors on it, and why the others cannot be."""

    name: str
    provoke: Mapping[type[LinkError], Provoke]
    never: Mapping[type[LinkError], str] = field(default_factory=dict)


BY_NAME = {member.name: member for member in MEMBERS}
HTTP = b"HTTP/1.1 400 Bad Request\r\n\r\n"
TRANSPORTS = [
    Transport(
        "stdio",
        {**common(BY_NAME["child"]), LinkRefused: no_such_command},
        {
            **NO_HANDSHAKE,
            LinkTimeout: "a process has started or it has not",
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
            LinkBroken: "only by a peer that takes nothing: test_a_peer_that_takes_nothing_for_a_time_breaks_its_own_link_...",
            LinkProtocolError: "it carries whole frames",
        },
    ),
    Transport(
        "tcp",
        {
            **common(BY_NAME["tcp"]),
            LinkRefused: nobody_listens("tcp"),
            LinkTimeout: a_full_port,
            LinkProtocolError: opened(BY_NAME["tcp"], says(HTTP)),
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
            LinkProtocolError: opened(BY_NAME["unix"], says(HTTP)),
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


def told(error: BaseException | None) -> str:
    """All that a log could show of an error and of what it came from."""
    said = []
    while error is not None:
        said += [str(error), repr(error), repr(error.args)]
        error = error.__cause__ or error.__context__
    return " ".join(said)


@pytest.mark.requirement("L20")
@pytest.mark.parametrize(
    ("error", "provoke"), [each[1:] for each in PROVOKED], ids=[f"{n}-{e.__name__}" for n, e, _ in PROVOKED]
)
async def test_what_goes_wrong_is_told_by_its_own_class(error: type[LinkError], provoke: Provoke, tmp_path: Path) -> None:
    with pytest.raises(LinkError) as raised:
        await provoke(tmp_path)
    assert type(raised.value) is error, raised.value
    assert len(str(raised.value)) > 20
    assert SECRET not in told(raised.value)


@pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda transport: transport.name)
def test_every_class_is_provoked_or_said_to_be_impossible(transport: Transport) -> None:
    assert transport.provoke.keys() | transport.never.keys() == set(ERRORS)
    assert not transport.provoke.keys() & transport.never.keys()


@pytest.mark.requirement("L04")
@pytest.mark.parametrize("provoke", [another_hosts_certificate, an_old_certificate])
async def test_a_certificate_that_is_not_of_this_host_or_has_expired_is_not_trusted(provoke: Provoke, tmp_path: Path) -> None:
    with pytest.raises(LinkCertificateError, match="tls://127"):
        await provoke(tmp_path)


async def test_a_certificate_that_is_trusted_lets_in(tmp_path: Path) -> None:
    async with tls_server("leaf") as where:
        assert await connect(where, ConnectSettings(trust=authority().trust))

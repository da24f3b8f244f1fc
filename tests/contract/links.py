"""Every kind of lasting link, opened over its real transport, with the raw other end for a test to drive."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import re
import signal
import socket
import ssl
import struct
import tempfile
import types
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from websockets.asyncio.client import connect as dial
from websockets.asyncio.connection import Connection as WebSocket
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from fabric.errors import EndOfLink, LinkBroken, LinkError
from fabric.links import registry
from fabric.links.base import Link, LinkInfo
from fabric.links.http import websockets
from fabric.links.http.settings import HttpSettings
from fabric.links.memory import pair
from fabric.links.settings import ConnectSettings, LinkLimits
from fabric.links.sockets import tcp, unix
from fabric.links.stdio.command import ServerCommand
from fabric.links.stdio.own_streams import own
from fabric.links.stdio.processes import Processes
from fabric.links.stdio.server import spawn
from fabric.security.tls import Trust
from tests.certificates import Authority
from tests.containers import need_containers
from tests.contract.relay import boxed_relay, relay
from tests.contract.sse_peer import sse
from tests.tcp_server import tcp_server

WAIT = 30.0
"""Seconds that a test waits for something that has to happen."""
LINE_BYTES = 1 << 20
"""Bytes of the longest line that a peer reads."""
QUIET = logging.Logger("a peer whose link is broken on purpose", logging.CRITICAL)


class Peer(Protocol):
    """The raw other end of a link."""

    async def write(self, data: bytes) -> None:
        """Send bytes, which are lines, and wait until they have left."""

    async def line(self) -> bytes:
        """The next frame from the link, without its newline; empty at its end."""

    async def close(self) -> None:
        """End the connection in order."""

    async def vanish(self) -> None:
        """Break the connection."""


@dataclass
class Joined:
    """A link and its other end."""

    link: Link
    peer: Peer
    noise: list[bytes] | None = None
    """The invalid lines that were reported to a callback; None where they raise InvalidFrame instead."""


class Open(Protocol):
    def __call__(self, *, max_frame_bytes: int = ..., stall_timeout: float = ...) -> AbstractAsyncContextManager[Joined]: ...


@dataclass
class Member:
    """A kind of link."""

    name: str
    open: Open
    """Opens a link and its peer."""
    end: type[LinkError] = EndOfLink
    """What receive() raises when the peer closes."""
    bytewise: bool = True
    """The peer can write any bytes, and break the connection."""
    text: bool = False
    """The transport ends the link at bytes that are not UTF-8."""
    server: bool = False
    """The peer is a server."""


@dataclass
class SocketPeer:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    closing: Callable[[], None]
    breaking: Callable[[], None]

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def line(self) -> bytes:
        async with asyncio.timeout(WAIT):
            return (await self.reader.readline()).removesuffix(b"\n")

    async def close(self) -> None:
        await self.writer.drain()
        self.closing()

    async def vanish(self) -> None:
        self.breaking()


@dataclass
class LinkPeer:
    link: Link

    async def write(self, data: bytes) -> None:
        for line in data.split(b"\n"):
            if line:
                self.link.send(line)
                await self.link.drain()

    async def line(self) -> bytes:
        async with asyncio.timeout(WAIT):
            try:
                return (await self.link.receive()).frame
            except EndOfLink:
                return b""

    async def close(self) -> None:
        await self.link.aclose()

    async def vanish(self) -> None:
        raise NotImplementedError


@dataclass
class WebSocketPeer:
    """The end of a real WebSocket library: lines towards the test, text frames towards the link."""

    socket: WebSocket
    partial: bytes = b""

    async def write(self, data: bytes) -> None:
        *lines, self.partial = (self.partial + data).split(b"\n")
        for line in lines:
            self.socket.protocol.send_text(line.removesuffix(b"\r"))
        self.socket.transport.write(b"".join(self.socket.protocol.data_to_send()))
        await self.socket.drain()

    async def line(self) -> bytes:
        async with asyncio.timeout(WAIT):
            try:
                return await self.socket.recv(decode=False)
            except ConnectionClosed:
                return b""

    async def close(self) -> None:
        if self.partial:
            await self.write(b"\n")
        await self.socket.close()

    async def vanish(self) -> None:
        raw = self.socket.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        asyncio.get_running_loop().call_soon(self.socket.transport.abort)


@contextlib.asynccontextmanager
async def _closing(joined: Joined, *sockets: asyncio.StreamWriter) -> AsyncIterator[Joined]:
    try:
        yield joined
    finally:
        await joined.link.aclose()
        for writer in sockets:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def _accepting(
    listening: socket.socket, context: ssl.SSLContext | None = None
) -> AsyncIterator[asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    """Accept connections on a bound socket, and queue them."""
    accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.put_nowait((reader, writer))
        await writer.wait_closed()

    async with tcp_server(hold, listening, tls=context, line_bytes=LINE_BYTES):
        yield accepted


def open_child(*, max_frame_bytes: int = 1 << 20, stall_timeout: float = 60.0) -> AbstractAsyncContextManager[Joined]:
    """A real child process."""
    return _open_relay(relay, max_frame_bytes, stall_timeout)


def open_container(*, max_frame_bytes: int = 1 << 20, stall_timeout: float = 60.0) -> AbstractAsyncContextManager[Joined]:
    """A real container."""
    need_containers()
    return _open_relay(boxed_relay, max_frame_bytes, stall_timeout)


@contextlib.asynccontextmanager
async def _open_relay(
    command: Callable[[str], ServerCommand], max_frame_bytes: int, stall_timeout: float
) -> AsyncIterator[Joined]:
    noise: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/relay")
        async with _accepting(listening) as accepted, contextlib.aclosing(Processes()) as processes:
            link = await spawn(
                command(folder),
                id="child",
                processes=processes,
                inherited=os.environ,
                on_stderr=print,
                on_noise=noise.append,
                max_frame_bytes=max_frame_bytes,
                stall_timeout=stall_timeout,
            )
            reader, writer = await asyncio.wait_for(accepted.get(), WAIT)
            pid = re.search(r"pid (\d+)", link.info.peer)
            assert pid
            peer = SocketPeer(reader, writer, writer.close, functools.partial(os.kill, int(pid[1]), signal.SIGKILL))
            async with _closing(Joined(link, peer, noise), writer) as joined:
                yield joined


@contextlib.asynccontextmanager
async def open_own(*, max_frame_bytes: int = 1 << 20, stall_timeout: float = 60.0) -> AsyncIterator[Joined]:
    """Our own stdin and stdout, which are sockets meanwhile, as some hosts make them."""
    stdin, stdin_peer = socket.socketpair()
    stdout, stdout_peer = socket.socketpair()
    kept = os.dup(0), os.dup(1)
    os.dup2(stdin.fileno(), 0)
    os.dup2(stdout.fileno(), 1)
    stdin.close()
    stdout.close()
    _, writer = await asyncio.open_connection(sock=stdin_peer)
    reader, answers = await asyncio.open_connection(sock=stdout_peer, limit=LINE_BYTES)
    try:
        link = await own("own", "anything", max_frame_bytes=max_frame_bytes, stall_timeout=stall_timeout)
        peer = SocketPeer(reader, writer, writer.write_eof, answers.transport.abort)
        async with _closing(Joined(link, peer), writer, answers) as joined:
            yield joined
    finally:
        for fd, copy in enumerate(kept):
            os.dup2(copy, fd)
            os.close(copy)


@contextlib.asynccontextmanager
async def open_memory(*, max_frame_bytes: int = 1 << 20, stall_timeout: float = 60.0) -> AsyncIterator[Joined]:
    """A pair in memory."""
    infos = LinkInfo(id="a", transport="memory"), LinkInfo(id="b", transport="memory")
    link, other = pair(*infos, max_frame_bytes=max_frame_bytes, stall_timeout=stall_timeout)
    try:
        yield Joined(link, LinkPeer(other))
    finally:
        await link.aclose()
        await other.aclose()


def documented() -> Any:
    """The module that docs/howto/new-link.md shows, run from the page."""
    page = (Path(__file__).parents[2] / "docs/howto/new-link.md").read_text()
    block = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert block
    module = types.ModuleType("documented_link")
    exec(compile(block[1], "docs/howto/new-link.md", "exec"), module.__dict__)
    return module


@contextlib.asynccontextmanager
async def open_documented(*, max_frame_bytes: int = 1 << 20, stall_timeout: float = 60.0) -> AsyncIterator[Joined]:
    """The link of the how-to page."""
    with _small(socket.AF_INET) as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        async with _accepting(listening) as accepted:
            limits = {"max_frame_bytes": max_frame_bytes, "stall_timeout": stall_timeout}
            link = await documented().connect("127.0.0.1", port, id="tcp", **limits)
            reader, writer = await asyncio.wait_for(accepted.get(), WAIT)

            peer = SocketPeer(reader, writer, writer.write_eof, functools.partial(reset, link, writer))
            async with _closing(Joined(link, peer), writer) as joined:
                yield joined


def reset(link: Link, writer: asyncio.StreamWriter) -> None:
    """Reset a connection. A Unix socket sends a reset only when it is closed with unread data, so leave some unread."""
    raw = writer.get_extra_info("socket")
    if raw.family == socket.AF_UNIX:
        link.send(b"{}")
    else:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    asyncio.get_running_loop().call_soon(writer.transport.abort)


@contextlib.asynccontextmanager
async def _stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link) -> AsyncIterator[Joined]:
    """A link, and the socket at its other end."""
    leave = writer.write_eof if writer.can_write_eof() else writer.close
    peer = SocketPeer(reader, writer, leave, functools.partial(reset, link, writer))
    try:
        yield Joined(link, peer)
    finally:
        closing = asyncio.create_task(link.aclose())
        writer.transport.abort()  # or aclose would wait for the peer to close
        await closing
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _small(family: int) -> socket.socket:
    """A socket with a small receive buffer; the system would else buffer megabytes for a peer that does not read."""
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    return made


@contextlib.asynccontextmanager
async def open_sse(*, max_frame_bytes: int = 1 << 20, stall_timeout: float = 60.0) -> AsyncIterator[Joined]:
    """A remote server that speaks HTTP+SSE (2024-11-05)."""
    async with sse(_small, max_frame_bytes=max_frame_bytes, stall_timeout=stall_timeout) as (link, peer):
        yield Joined(link, peer)


def connecting(scheme: str, authority: Authority | None = None) -> Open:
    """Opens the link of the connecting side."""

    @contextlib.asynccontextmanager
    async def opened(*, max_frame_bytes: int = 1 << 20, stall_timeout: float = 60.0) -> AsyncIterator[Joined]:
        with tempfile.TemporaryDirectory() as folder:
            unix = scheme == "unix"
            listening = _small(socket.AF_UNIX if unix else socket.AF_INET)
            listening.bind(f"{folder}/socket" if unix else ("127.0.0.1", 0))
            url = f"unix://{folder}/socket" if unix else f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
            async with _accepting(listening, authority.server() if authority else None) as accepted:
                settings = ConnectSettings(
                    max_frame_bytes=max_frame_bytes,
                    stall_timeout=stall_timeout,
                    trust=authority.trust if authority else Trust(),
                )
                link = await registry.connect(url, settings, id="one")
                async with _stream(*await asyncio.wait_for(accepted.get(), WAIT), link) as joined:
                    yield joined

    return opened


def accepting(scheme: str, authority: Authority | None = None) -> Open:
    """Opens the link that a listener accepts."""

    @contextlib.asynccontextmanager
    async def opened(*, max_frame_bytes: int = 1 << 20, stall_timeout: float = 60.0) -> AsyncIterator[Joined]:
        accepted: asyncio.Queue[Link] = asyncio.Queue()
        done = asyncio.Event()

        async def handle(link: Link) -> None:
            accepted.put_nowait(link)
            await done.wait()

        limits = LinkLimits(max_frame_bytes=max_frame_bytes, stall_timeout=stall_timeout)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "socket"
            if scheme == "unix":
                listener = await unix.listen(handle, unix.UnixSettings(path=path, server="any", limits=limits))
            else:
                certified = authority.certified if authority else None
                listener = await tcp.listen(handle, tcp.TcpSettings(server="any", limits=limits, certified=certified))
            sock = _small(socket.AF_UNIX if scheme == "unix" else socket.AF_INET)
            sock.setblocking(False)
            where = str(path) if scheme == "unix" else ("127.0.0.1", int(listener.address.rpartition(":")[2]))
            await asyncio.get_running_loop().sock_connect(sock, where)
            context = authority.client() if authority else None
            name = "127.0.0.1" if context else None
            reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name, limit=LINE_BYTES)
            try:
                async with _stream(reader, writer, await asyncio.wait_for(accepted.get(), WAIT)) as joined:
                    yield joined
            finally:
                done.set()
                await listener.aclose()

    return opened


WEBSOCKET: dict[str, Any] = {"compression": None, "max_size": None, "ping_interval": None, "subprotocols": [Subprotocol("mcp")]}


@contextlib.asynccontextmanager
async def _framed(peer: WebSocket, link: Link) -> AsyncIterator[Joined]:
    try:
        yield Joined(link, WebSocketPeer(peer))
    finally:
        closing = asyncio.create_task(link.aclose())
        peer.transport.abort()  # or aclose would wait for the peer to close
        await closing


def connecting_websocket(authority: Authority | None = None) -> Open:
    """Opens the link of the connecting side."""

    @contextlib.asynccontextmanager
    async def opened(*, max_frame_bytes: int = 1 << 20, stall_timeout: float = 60.0) -> AsyncIterator[Joined]:
        accepted: asyncio.Queue[WebSocket] = asyncio.Queue()

        async def handle(peer: WebSocket) -> None:
            accepted.put_nowait(peer)
            await peer.wait_closed()

        listening = _small(socket.AF_INET)
        listening.bind(("127.0.0.1", 0))
        url = f"{'wss' if authority else 'ws'}://127.0.0.1:{listening.getsockname()[1]}/any"
        context = authority.server() if authority else None
        async with serve(handle, sock=listening, ssl=context, logger=QUIET, **WEBSOCKET):
            trust = authority.trust if authority else Trust()
            settings = ConnectSettings(max_frame_bytes=max_frame_bytes, stall_timeout=stall_timeout, trust=trust)
            link = await registry.connect(url, settings, id="one")
            async with _framed(await asyncio.wait_for(accepted.get(), WAIT), link) as joined:
                yield joined

    return opened


@contextlib.asynccontextmanager
async def accepted_websocket(*, max_frame_bytes: int = 1 << 20, stall_timeout: float = 60.0) -> AsyncIterator[Joined]:
    """Opens the link that a listener accepts."""
    accepted: asyncio.Queue[Link] = asyncio.Queue()
    done = asyncio.Event()

    async def handle(link: Link) -> None:
        accepted.put_nowait(link)
        await done.wait()

    settings = HttpSettings(resolve=lambda _: "any", max_body_bytes=max_frame_bytes, stall_timeout=stall_timeout)
    listener = await websockets.listen(handle, settings)
    sock = _small(socket.AF_INET)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", int(listener.address.rpartition(":")[2])))
    peer = await dial(f"{listener.address}/ws", sock=sock, logger=QUIET, **WEBSOCKET)
    try:
        async with _framed(peer, await asyncio.wait_for(accepted.get(), WAIT)) as joined:
            yield joined
    finally:
        done.set()
        await listener.aclose()


@functools.cache
def authority() -> Authority:
    """The certificate authority of the whole run."""
    return Authority.make()


MEMBERS = [
    Member("child", open_child, end=LinkBroken, server=True),  # a server that exits is broken
    Member("container", open_container, end=LinkBroken, server=True),
    Member("own", open_own),
    Member("memory", open_memory, bytewise=False),
    Member("tcp", connecting("tcp"), server=True),
    Member("tcp accepted", accepting("tcp")),
    Member("tls", connecting("tls", authority()), server=True),
    Member("tls accepted", accepting("tls", authority())),
    Member("unix", connecting("unix"), server=True),
    Member("unix accepted", accepting("unix")),
    Member("ws", connecting_websocket(), text=True, server=True),
    Member("wss", connecting_websocket(authority()), text=True, server=True),
    Member("ws accepted", accepted_websocket, text=True),
    Member("howto", open_documented),
    Member("sse", open_sse, bytewise=False, server=True),
]

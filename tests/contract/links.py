"""The members of the link family that last, each opened for real, with the raw other end in the test's hands."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import signal
import socket
import struct
import sys
import tempfile
import types
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fabric.errors import EndOfLink, LinkBroken, LinkError
from fabric.links.base import Link, LinkInfo
from fabric.links.memory import pair
from fabric.links.stdio import ServerCommand, own, spawn

WAIT = 10.0
"""Longest wait for something that has to happen, in seconds."""
LINE_BYTES = 1 << 20
"""Longest line that a peer reads."""


class Peer(Protocol):
    """The raw other end of a link."""

    async def write(self, data: bytes) -> None: ...

    async def line(self) -> bytes: ...

    async def leave(self) -> None:
        """End in an orderly way."""

    async def vanish(self) -> None:
        """Break."""


@dataclass
class Joined:
    """A link, its other end, and the noise that was reported (None: noise raises InvalidFrame)."""

    link: Link
    peer: Peer
    noise: list[bytes] | None = None


class Open(Protocol):
    def __call__(self, *, max_frame_bytes: int = ..., buffer_bytes: int = ...) -> AbstractAsyncContextManager[Joined]: ...


@dataclass
class Member:
    """open: joins a link to a peer. end: what receive() raises when the peer leaves. bytewise: the peer writes any bytes."""

    name: str
    open: Open
    end: type[LinkError] = EndOfLink
    bytewise: bool = True


@dataclass
class SocketPeer:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    leaving: Callable[[], None]
    vanishing: Callable[[], None]

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def line(self) -> bytes:
        async with asyncio.timeout(WAIT):
            return (await self.reader.readline()).removesuffix(b"\n")

    async def leave(self) -> None:
        await self.writer.drain()
        self.leaving()

    async def vanish(self) -> None:
        self.vanishing()


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

    async def leave(self) -> None:
        await self.link.aclose()

    async def vanish(self) -> None:
        raise NotImplementedError


RELAY = """
import os, socket, sys, threading
there = socket.socket(socket.AF_UNIX)
there.connect(sys.argv[1])
def outwards():
    while data := there.recv(65536):
        while data:
            data = data[os.write(1, data):]
    os._exit(0)
threading.Thread(target=outwards, daemon=True).start()
while data := os.read(0, 65536):
    there.sendall(data)
there.shutdown(socket.SHUT_WR)
"""


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
async def _answering(
    listening: socket.socket,
) -> AsyncIterator[asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    """Accept connections on a bound socket."""
    called: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    start = asyncio.start_unix_server if listening.family == socket.AF_UNIX else asyncio.start_server
    server = await start(lambda reader, writer: called.put_nowait((reader, writer)), sock=listening, limit=LINE_BYTES)
    try:
        yield called
    finally:
        server.close()


@contextlib.asynccontextmanager
async def open_child(*, max_frame_bytes: int = 1 << 20, buffer_bytes: int = 1 << 20) -> AsyncIterator[Joined]:
    """A real child process that hands all bytes on, both ways, to a socket of ours."""
    noise: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/relay")
        async with _answering(listening) as called:
            link = await spawn(
                ServerCommand(sys.executable, ("-c", RELAY, f"{folder}/relay"), grace=2.0),
                id="child",
                inherited=os.environ,
                on_stderr=print,
                on_noise=noise.append,
                max_frame_bytes=max_frame_bytes,
                buffer_bytes=buffer_bytes,
            )
            reader, writer = await asyncio.wait_for(called.get(), WAIT)
            found = re.search(r"pid (\d+)", link.info.peer)
            assert found
            peer = SocketPeer(reader, writer, writer.close, functools.partial(os.kill, int(found[1]), signal.SIGKILL))
            async with _closing(Joined(link, peer, noise), writer) as joined:
                yield joined


@contextlib.asynccontextmanager
async def open_own(*, max_frame_bytes: int = 1 << 20, buffer_bytes: int = 1 << 20) -> AsyncIterator[Joined]:
    """Our own stdin and stdout, which are sockets for as long, as some hosts make them."""
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
        link = await own("own", "anything", max_frame_bytes=max_frame_bytes, buffer_bytes=buffer_bytes)
        peer = SocketPeer(reader, writer, writer.write_eof, answers.transport.abort)
        async with _closing(Joined(link, peer), writer, answers) as joined:
            yield joined
    finally:
        for fd, copy in enumerate(kept):
            os.dup2(copy, fd)
            os.close(copy)


@contextlib.asynccontextmanager
async def open_memory(*, max_frame_bytes: int = 1 << 20, buffer_bytes: int = 1 << 20) -> AsyncIterator[Joined]:
    """A pair in memory."""
    infos = LinkInfo(id="a", transport="memory"), LinkInfo(id="b", transport="memory")
    link, other = pair(*infos, max_frame_bytes=max_frame_bytes, buffer_bytes=buffer_bytes)
    try:
        yield Joined(link, LinkPeer(other))
    finally:
        await link.aclose()
        await other.aclose()


def documented() -> Any:
    """The module that docs/howto/new-link.md shows, run from the page."""
    page = (Path(__file__).parents[2] / "docs/howto/new-link.md").read_text()
    found = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert found
    module = types.ModuleType("documented_link")
    exec(compile(found[1], "docs/howto/new-link.md", "exec"), module.__dict__)
    return module


@contextlib.asynccontextmanager
async def open_documented(*, max_frame_bytes: int = 1 << 20, buffer_bytes: int = 1 << 20) -> AsyncIterator[Joined]:
    """The link of the how-to page."""
    with socket.socket() as listening:
        listening.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 65536
        )  # or the system takes megabytes for a peer that does not
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        async with _answering(listening) as called:
            limits = {"max_frame_bytes": max_frame_bytes, "buffer_bytes": buffer_bytes}
            link = await documented().connect("127.0.0.1", port, id="tcp", **limits)
            reader, writer = await asyncio.wait_for(called.get(), WAIT)

            def reset() -> None:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

            async with _closing(Joined(link, SocketPeer(reader, writer, writer.write_eof, reset)), writer) as joined:
                yield joined


MEMBERS = [
    Member("child", open_child, end=LinkBroken),  # a server has no orderly end: it should not exit
    Member("own", open_own),
    Member("memory", open_memory, bytewise=False),
    Member("howto", open_documented),
]

"""The raw other end of an HTTP+SSE link: a POST from the link is a line, a line to the link is an event."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fabric.links import registry
from fabric.links.base import Link
from fabric.links.framing import one_line
from fabric.links.http.response_head import LAST_CHUNK, chunk
from fabric.links.settings import ConnectSettings
from tests.tcp_server import tcp_server

WAIT = 30.0
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDPOINT = b"event: endpoint\ndata: /post\n\n"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


class SsePeer:
    """An HTTP+SSE server that reads a POST only when a test asks for a line, so that backpressure works as on a socket."""

    def __init__(self) -> None:
        self.stream: asyncio.StreamWriter
        self.opened = asyncio.Event()
        self._posts: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._post: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.opened.is_set():
            self._posts.put_nowait((reader, writer))
        else:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(STREAM + chunk(ENDPOINT))
            self.stream = writer
            self.opened.set()
        await writer.wait_closed()

    async def write(self, data: bytes) -> None:
        self.stream.write(chunk(b"".join(b"data: " + line + b"\n\n" for line in data.split(b"\n") if line)))
        await self.stream.drain()

    async def line(self) -> bytes:
        async with asyncio.timeout(WAIT):
            while True:
                self._post = self._post or await self._posts.get()
                reader, writer = self._post
                try:
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                except asyncio.IncompleteReadError:
                    self._post = None
                    continue
                body = await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
                writer.write(ACCEPTED)
                return one_line(body)

    async def close(self) -> None:
        self.stream.write(LAST_CHUNK)
        await self.stream.drain()
        self.stream.close()

    async def vanish(self) -> None:
        raw = self.stream.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.transport.abort()


@asynccontextmanager
async def sse(
    listening: Callable[[int], socket.socket], *, max_frame_bytes: int, stall_timeout: float
) -> AsyncIterator[tuple[Link, SsePeer]]:
    """A link to a peer that listens on such a socket."""
    peer = SsePeer()
    sock = listening(socket.AF_INET)
    sock.bind(("127.0.0.1", 0))
    async with tcp_server(peer.accept, sock) as port:
        settings = ConnectSettings(max_frame_bytes=max_frame_bytes, stall_timeout=stall_timeout)
        link = await registry.connect(f"sse+http://127.0.0.1:{port}/sse", settings, id="sse")
        try:
            yield link, peer
        finally:
            await link.aclose()

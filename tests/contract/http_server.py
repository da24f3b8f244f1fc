"""A remote HTTP server in a test's hands: what each connection asked, byte for byte, and what the test answers."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from fabric.errors import LinkError
from fabric.faults import LostAnswer
from fabric.links.base import Link
from fabric.links.registry import connect
from fabric.links.settings import ConnectSettings
from fabric.mcp.jsonrpc import Message
from tests.conversing import conversing
from tests.ports import free_port

WAIT = 30.0
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def frame(id: str | None, method: str, **params: Any) -> bytes:
    """A request, or without an id a notification."""
    head: dict[str, Any] = {"jsonrpc": "2.0"} | ({"id": id} if id else {})
    return json.dumps(head | {"method": method, "params": params}).encode()


def modern(id: str, method: str = "tools/call", **params: Any) -> bytes:
    """A request that stands alone."""
    return frame(id, method, **params, _meta=META)


def result(id: str, **value: Any) -> bytes:
    """A response."""
    return json.dumps({"jsonrpc": "2.0", "id": id, "result": value}).encode()


def initialize(id: str = "open") -> bytes:
    """A session's first request."""
    return frame(id, "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "t", "version": "1"})


@dataclass
class Asked:
    """One request, on the connection of this number, and the way to answer it."""

    connection: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    _writer: asyncio.StreamWriter
    _gone: asyncio.Event
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return str(self.json["id"])

    def answer(self, status: int, body: bytes = b"", kind: str = "application/json", **headers: str) -> None:
        """All of an answer. A name's underscores are hyphens."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} Said\r\n{lines}Content-Length: {len(body)}\r\n"
        self._writer.write(head.encode() + (f"Content-Type: {kind}\r\n\r\n".encode() if body else b"\r\n") + body)
        self.answered.set()

    def result(self, **value: Any) -> None:
        """Answer with a JSON-RPC result."""
        self.answer(200, result(self.id, **value))

    def stream(self, *events: bytes, **headers: str) -> None:
        """Open an event stream, and send events on it."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 200 OK\r\n{lines}Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        self._writer.write(head.encode())
        for event in events:
            self.event(event)

    def event(self, data: bytes) -> None:
        """Send events, as they are in the stream."""
        self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """End the event stream."""
        self._writer.write(b"0\r\n\r\n")
        self.answered.set()

    def say(self, data: bytes) -> None:
        """Answer with these bytes, and close."""
        self._writer.write(data)
        self._writer.close()
        self.answered.set()

    def drop(self) -> None:
        """Reset the connection."""
        self._writer.transport.abort()
        self.answered.set()

    async def left(self) -> None:
        """Wait until the other end has closed the connection."""
        await asyncio.wait_for(self._gone.wait(), WAIT)


class Upstream:
    """Listens on a free loopback port. `handle`, if there is one, is awaited with each request; else `asked` hands them out."""

    def __init__(
        self, handle: Callable[[Asked], Coroutine[Any, Any, None]] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._handle = handle
        self._tls = tls
        self._requests: asyncio.Queue[Asked] = asyncio.Queue()
        self._handling: set[asyncio.Task[None]] = set()
        self._listening = AsyncExitStack()
        self._links: list[Link] = []
        self.connections = 0
        self.most = 0
        self.open = 0  # now
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/mcp"

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def listen(self) -> None:
        """Listen, on the same port as before."""
        await self._listening.enter_async_context(conversing(self._accept, port=self.port, tls=self._tls))

    async def stop(self) -> None:
        """Listen no more, and reset all connections."""
        await self._listening.aclose()
        for task in self._handling:
            task.cancel()
        await asyncio.gather(*self._handling, return_exceptions=True)

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()
        await asyncio.gather(*(link.aclose() for link in self._links))

    async def link(self, id: str = "far#1", **settings: Any) -> Link:
        """A link to it, closed with it."""
        found = await connect(self.url, ConnectSettings(**settings), id=id)
        self._links.append(found)
        return found

    async def asked(self) -> Asked:
        """The next request."""
        return await asyncio.wait_for(self._requests.get(), WAIT)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.connections += 1
        self.most = max(self.most, self.open)
        gone = asyncio.Event()
        try:
            await self._serve(self.connections, reader, writer, gone)
        finally:
            self.open -= 1
            gone.set()

    async def _serve(
        self, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gone: asyncio.Event
    ) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            method, path, _ = head[0].split()
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            asked = Asked(connection, method, path, headers, body, writer, gone)
            if self._handle is None:
                self._requests.put_nowait(asked)
            else:
                handling = asyncio.create_task(self._handle(asked))
                self._handling.add(handling)
                handling.add_done_callback(self._handling.discard)
            await self._answered(asked, reader)

    async def _answered(self, asked: Asked, reader: asyncio.StreamReader) -> None:
        """Wait for the answer, or for the end of the connection: nothing else comes before the answer."""
        gone, answered = asyncio.create_task(reader.read(1)), asyncio.create_task(asked.answered.wait())
        await asyncio.wait({gone, answered}, return_when=asyncio.FIRST_COMPLETED)
        for task in (gone, answered):
            task.cancel()
        await asyncio.gather(gone, answered, return_exceptions=True)
        if not gone.cancelled():
            raise ConnectionResetError


async def received(link: Link) -> Message:
    return await asyncio.wait_for(link.receive(), WAIT)


async def answer(link: Link, id: str) -> Any:
    """The response of this id, and nothing before it."""
    message = await received(link)
    found = json.loads(message.frame)
    assert found["id"] == id, found
    return found


async def lost(link: Link, id: str) -> LostAnswer:
    """What is said instead of a response."""
    message = await received(link)
    assert isinstance(message, LostAnswer), message.frame
    assert message.id == json.dumps(id).encode()
    return message


async def ended(link: Link) -> LinkError:
    """How the link ended."""
    with pytest.raises(LinkError) as raised:
        await received(link)
    with pytest.raises(type(raised.value)):
        link.send(modern("late"))
    return raised.value


async def session(upstream: Upstream, link: Link, id: str = "s-1") -> Asked:
    """Open a session; its stream, as the server was asked for it."""
    link.send(initialize())
    asked = await upstream.asked()
    assert "mcp-session-id" not in asked.headers
    asked.answer(200, result("open", protocolVersion="2025-06-18"), Mcp_Session_Id=id)
    await answer(link, "open")
    link.send(frame(None, "notifications/initialized"))
    asked = await upstream.asked()
    assert (asked.headers["mcp-session-id"], asked.headers["mcp-protocol-version"]) == (id, "2025-06-18")
    asked.answer(202)
    stream = await upstream.asked()
    assert (stream.method, stream.headers["accept"]) == ("GET", "text/event-stream")
    return stream


async def proven(upstream: Upstream, link: Link) -> None:
    """The server has answered once."""
    link.send(modern("first", "server/discover"))
    (await upstream.asked()).result()
    await answer(link, "first")

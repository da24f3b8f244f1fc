"""A remote HTTP server whose every request a test reads and answers itself."""

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
from tests.ports import free_port
from tests.tcp_server import tcp_server

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
    """A request of the modern era."""
    return frame(id, method, **params, _meta=META)


def result(id: str, **value: Any) -> bytes:
    """A response."""
    return json.dumps({"jsonrpc": "2.0", "id": id, "result": value}).encode()


def initialize(id: str = "open") -> bytes:
    """The first request of a session."""
    return frame(id, "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "t", "version": "1"})


@dataclass
class HttpRequest:
    """One request, and the means to answer it."""

    connection: int
    """The number of its connection, from 1."""
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
        """Send a whole response. Underscores in a header's name become hyphens."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} Status\r\n{lines}Content-Length: {len(body)}\r\n"
        self._writer.write(head.encode() + (f"Content-Type: {kind}\r\n\r\n".encode() if body else b"\r\n") + body)
        self.answered.set()

    def result(self, **value: Any) -> None:
        """Answer with a JSON-RPC result."""
        self.answer(200, result(self.id, **value))

    def stream(self, *events: bytes, **headers: str) -> None:
        """Begin an event stream, and send events on it."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 200 OK\r\n{lines}Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        self._writer.write(head.encode())
        for event in events:
            self.event(event)

    def event(self, data: bytes) -> None:
        """Send a chunk of the event stream."""
        self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """End the event stream."""
        self._writer.write(b"0\r\n\r\n")
        self.answered.set()

    def raw(self, data: bytes) -> None:
        """Send these bytes instead of a response, and close."""
        self._writer.write(data)
        self._writer.close()
        self.answered.set()

    def drop(self) -> None:
        """Reset the connection."""
        self._writer.transport.abort()
        self.answered.set()

    async def disconnected(self) -> None:
        """Wait until the client has closed the connection."""
        await asyncio.wait_for(self._gone.wait(), WAIT)


class Upstream:
    """An HTTP server on a free loopback port. `handle`, if given, answers each request; else `next_request` returns them."""

    def __init__(
        self, handle: Callable[[HttpRequest], Coroutine[Any, Any, None]] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._handle = handle
        self._tls = tls
        self._requests: asyncio.Queue[HttpRequest] = asyncio.Queue()
        self._handling: set[asyncio.Task[None]] = set()
        self._listening = AsyncExitStack()
        self._links: list[Link] = []
        self.connections = 0
        """How many have been accepted so far."""
        self.most = 0
        """How many were open at once, at most."""
        self.open = 0
        """How many are open now."""
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/mcp"

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def listen(self) -> None:
        """Listen, on the same port each time."""
        await self._listening.enter_async_context(tcp_server(self._accept, port=self.port, tls=self._tls))

    async def stop(self) -> None:
        """Stop listening, and reset all connections."""
        await self._listening.aclose()
        for task in self._handling:
            task.cancel()
        await asyncio.gather(*self._handling, return_exceptions=True)

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()
        await asyncio.gather(*(link.aclose() for link in self._links))

    async def link(self, id: str = "far#1", **settings: Any) -> Link:
        """A link to this server, closed with it."""
        link = await connect(self.url, ConnectSettings(**settings), id=id)
        self._links.append(link)
        return link

    async def next_request(self) -> HttpRequest:
        """The next request that no test has taken yet."""
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
            http_request = HttpRequest(connection, method, path, headers, body, writer, gone)
            if self._handle is None:
                self._requests.put_nowait(http_request)
            else:
                handling = asyncio.create_task(self._handle(http_request))
                self._handling.add(handling)
                handling.add_done_callback(self._handling.discard)
            await self._answered(http_request, reader)

    async def _answered(self, http_request: HttpRequest, reader: asyncio.StreamReader) -> None:
        """Wait until the test has answered. ConnectionResetError if the client closes or sends more before that."""
        gone, answered = asyncio.create_task(reader.read(1)), asyncio.create_task(http_request.answered.wait())
        await asyncio.wait({gone, answered}, return_when=asyncio.FIRST_COMPLETED)
        for task in (gone, answered):
            task.cancel()
        await asyncio.gather(gone, answered, return_exceptions=True)
        if not gone.cancelled():
            raise ConnectionResetError


async def received(link: Link) -> Message:
    return await asyncio.wait_for(link.receive(), WAIT)


async def answer(link: Link, id: str) -> Any:
    """The next message, which is the response with this id."""
    message = await received(link)
    response = json.loads(message.frame)
    assert response["id"] == id, response
    return response


async def lost(link: Link, id: str) -> LostAnswer:
    """The next message, which is the fault that replaces the response with this id."""
    message = await received(link)
    assert isinstance(message, LostAnswer), message.frame
    assert message.id == json.dumps(id).encode()
    return message


async def ended(link: Link) -> LinkError:
    """The error with which the link ended."""
    with pytest.raises(LinkError) as raised:
        await received(link)
    with pytest.raises(type(raised.value)):
        link.send(modern("late"))
    return raised.value


async def session(upstream: Upstream, link: Link, id: str = "s-1") -> HttpRequest:
    """Open a session; the link's request for its event stream."""
    link.send(initialize())
    http_request = await upstream.next_request()
    assert "mcp-session-id" not in http_request.headers
    http_request.answer(200, result("open", protocolVersion="2025-06-18"), Mcp_Session_Id=id)
    await answer(link, "open")
    link.send(frame(None, "notifications/initialized"))
    http_request = await upstream.next_request()
    assert (http_request.headers["mcp-session-id"], http_request.headers["mcp-protocol-version"]) == (id, "2025-06-18")
    http_request.answer(202)
    stream = await upstream.next_request()
    assert (stream.method, stream.headers["accept"]) == ("GET", "text/event-stream")
    return stream


async def answered_once(upstream: Upstream, link: Link) -> None:
    """Let the server answer once, which proves that it is an MCP server."""
    link.send(modern("first", "server/discover"))
    (await upstream.next_request()).result()
    await answer(link, "first")

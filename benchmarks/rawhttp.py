"""A minimal HTTP/1.1 client that checks every reply: one request at a time on a kept-alive connection."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import msgspec

from benchmarks.wire import LEGACY, MODERN, Connection, ReplyError, endpoint, is_response


class Response(msgspec.Struct):
    """One response: its status, its head as received, its body without chunking."""

    status: int
    head: bytes
    body: bytes

    def message(self) -> bytes:
        """The JSON-RPC response: the body, or the message of an event stream that is a response."""
        if self.body.startswith(b"{"):
            return self.body
        for event in self.body.replace(b"\r\n", b"\n").split(b"\n\n"):
            data = b"\n".join(line[5:].lstrip() for line in event.split(b"\n") if line.startswith(b"data:"))
            if data and is_response(data):
                return data
        raise ReplyError(f"no response in {self.body[:300]!r}")


def header(head: bytes, name: bytes) -> bytes:
    """The value of a header, empty without it; `name` is in lower case."""
    at = head.lower().find(b"\r\n" + name + b":") + len(name) + 3
    return head[at : head.index(b"\r", at)].strip() if at > len(name) + 2 else b""


def parse(data: bytes) -> Response | None:
    """The response in `data`, None while it is incomplete. Raises ReplyError for bytes beyond its end."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return None
    head = data[: end - 2].lower()
    at = head.find(b"\r\ncontent-length:") + 17
    if at > 16:
        stop = end + int(head[at : head.index(b"\r", at)])
        body = data[end:stop]
    elif b"\r\ntransfer-encoding: chunked\r\n" in head:
        parts, stop, length = [], end, -1
        while length:
            line = data.find(b"\r\n", stop) + 2
            if line < 2:
                return None
            length = int(data[stop : line - 2].partition(b";")[0], 16)
            stop = line + length + 2
            parts.append(data[line : stop - 2])
        body = b"".join(parts)
    else:
        stop, body = end, b""
    if len(data) < stop:
        return None
    if len(data) > stop:
        raise ReplyError(f"bytes after a response: {data[stop : stop + 300]!r}")
    return Response(int(head[9:12]), data[: end - 2], body)


class _HttpConnection(Connection):
    """A connection with one request at a time; `head` is that of the last response."""

    head = b""

    def take(self, data: bytes) -> bytes:
        """As Connection.take: the JSON-RPC response in the body, or an empty message without a body."""
        response = parse(data)
        if not response:
            return data
        if response.status // 100 != 2:
            raise ReplyError(f"status {response.status}: {response.body[:300]!r}")
        self.head = response.head
        self.on_message(response.message() if response.body else b"")
        return b""


class HttpWire:
    """A session of Streamable HTTP, over several connections: each carries one call at a time, as HTTP clients do."""

    depth = 1

    def __init__(self, connections: list[_HttpConnection], url: str, *, modern: bool) -> None:
        parts = urlsplit(url)
        self._requests, self._modern, self._path = connections, modern, parts.path or "/"
        self.connections: list[Connection] = [*connections]
        self.pids: list[int] = []
        self._common = f"Host: {parts.netloc}\r\nContent-Type: application/json\r\n"
        self._common += "Accept: application/json, text/event-stream\r\n"
        self._session = ""

    def packed(self, body: bytes, method: str, name: str) -> bytes:
        """As Wire.packed."""
        mirrored = f"Mcp-Method: {method}\r\n" if self._modern else ""
        mirrored += f"Mcp-Name: {name}\r\n" if self._modern and name else ""
        if method != "initialize":
            mirrored += f"MCP-Protocol-Version: {MODERN if self._modern else LEGACY}\r\n{self._session}"
        return f"POST {self._path} HTTP/1.1\r\n{self._common}{mirrored}Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def request(self, body: bytes, method: str) -> bytes:
        """As Wire.request."""
        connection = self._requests[0]
        answer = await connection.until(self.packed(body, method, ""), lambda _: True)
        if method == "initialize" and (session := header(connection.head, b"mcp-session-id")):  # the relay sends none
            self._session = f"Mcp-Session-Id: {session.decode()}\r\n"
        return answer

    async def notify(self, body: bytes, method: str) -> None:
        """As Wire.notify."""
        await self._requests[0].until(self.packed(body, method, ""), lambda _: True)

    async def end(self) -> None:
        """As Wire.end."""
        if self._session:
            deletion = f"DELETE {self._path} HTTP/1.1\r\n{self._common}{self._session}\r\n"
            await self._requests[0].until(deletion.encode(), lambda _: True)
        for connection in self._requests:
            connection.on_failure = lambda _: None
            connection.close()


async def open_http(url: str, depth: int, *, modern: bool) -> HttpWire:
    """One session at http://HOST:PORT/PATH, over `depth` connections."""
    loop, connections = asyncio.get_running_loop(), []
    for _ in range(depth):
        _, connection = await loop.create_connection(_HttpConnection, *endpoint(url))
        connections.append(connection)
    return HttpWire(connections, url, modern=modern)

"""An HTTP/1.1 client for tests that writes raw requests, and returns status, headers, body and chunks as they arrived."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

TIMEOUT = 60.0
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
BOTH = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
LEGACY = BOTH | {"Mcp-Session-Id": "s1", "MCP-Protocol-Version": "2025-11-25"}
STREAM = {"Accept": "text/event-stream", "Mcp-Session-Id": "s1", "MCP-Protocol-Version": "2025-11-25"}


@dataclass
class Reply:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """One connection. Every wait has a timeout."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    port: int
    replies: list[Reply] = field(default_factory=list)
    unread: bytes = b""

    @classmethod
    async def open(cls, address: str) -> Client:
        host, port = address.removeprefix("http://").rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port), limit=64 * 1024 * 1024)
        return cls(reader, writer, int(port))

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> None:
        """Write one request; a Host header is added unless given."""
        lines = {"Host": f"127.0.0.1:{self.port}"} | headers
        if body is not None:
            lines["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b""))

    async def head(self) -> Reply:
        """The next response's status and headers."""
        async with asyncio.timeout(TIMEOUT):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode().rstrip().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        return Reply(int(first.split()[1]), {name.lower(): value for name, value in pairs})

    async def chunk(self) -> bytes:
        """The next piece of a chunked body; empty at its end."""
        async with asyncio.timeout(TIMEOUT):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def reply(self) -> Reply:
        """The next response, whole."""
        reply = await self.head()
        if reply.headers.get("transfer-encoding") == "chunked":
            while piece := await self.chunk():
                reply.body += piece
        else:
            async with asyncio.timeout(TIMEOUT):
                reply.body = await self.reader.readexactly(int(reply.headers["content-length"]))
        return reply

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> Reply:
        self.send(method, path, headers, body)
        return await self.reply()

    async def closed(self) -> None:
        """Wait until the server closes the connection."""
        async with asyncio.timeout(TIMEOUT):
            await self.reader.read()


def request(method: str, id: object = 1, **params: object) -> bytes:
    """A legacy request."""
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode()


def modern(method: str, id: object = 1, **params: Any) -> tuple[dict[str, str], bytes]:
    """A modern request, and the headers that belong to it."""
    headers = BOTH | {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
    target = params.get("name") or params.get("uri")
    if target:
        headers["Mcp-Name"] = str(target)
    params["_meta"] = META | params.get("_meta", {})
    return headers, request(method, id, **params)

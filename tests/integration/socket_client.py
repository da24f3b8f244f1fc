"""Clients of a fabric's TCP and Unix socket listeners: raw connections that carry one JSON-RPC message a line."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.fabrics import Process

WAIT = 20.0
"""Seconds that a test waits for a message."""
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}

each_socket = pytest.mark.parametrize("scheme", ["tcp", "unix"])


def addresses(process: Process) -> dict[str, str]:
    """The addresses on the ready line by scheme, without the server that a listener leads to."""
    words = process.ready().split()
    return {word.partition("://")[0]: word.partition("=")[0] for word in words if "://" in word}


class SocketClient:
    """A connection to a TCP or Unix socket listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *messages: Any) -> None:
        """Write messages, each on a line."""
        self.writer.write(b"".join(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n" for message in messages))

    def send_call(self, tool: str, id: object = 1, **arguments: Any) -> None:
        """Write a modern tool call."""
        self.send({"id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments, "_meta": META}})

    async def receive(self) -> Any:
        """The next message; None at the end of the connection."""
        async with asyncio.timeout(WAIT):
            line = await self.reader.readline()
        return json.loads(line) if line else None

    async def request(self, method: str, id: object = 1, **params: Any) -> Any:
        """Send a request of the legacy era; its response."""
        self.send({"id": id, "method": method, "params": params})
        return await self._response(id)

    async def call(self, tool: str, id: object = 1, **arguments: Any) -> Any:
        """Make a modern tool call; its response."""
        self.send_call(tool, id, **arguments)
        return await self._response(id)

    async def initialize(self) -> Any:
        """Open a legacy session; the response to initialize."""
        opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
        answer = await self.request("initialize", "open", **opening)
        self.send({"method": "notifications/initialized"})
        return answer

    async def _response(self, id: object) -> Any:
        while (message := await self.receive()).get("id") != id or "method" in message:
            pass
        return message


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[SocketClient]:
    """A connection to the listener at a tcp:// or unix:// address."""
    if address.startswith("unix://"):
        streams = await asyncio.open_unix_connection(address.removeprefix("unix://"), limit=1 << 24)
    else:
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        streams = await asyncio.open_connection(host, int(port), limit=1 << 24)
    try:
        yield SocketClient(*streams)
    finally:
        streams[1].close()
        with contextlib.suppress(OSError):
            await streams[1].wait_closed()

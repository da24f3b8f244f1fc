"""Clients of both eras over raw HTTP, for tests of a running fabric: calls, sessions, and the messages of a reply."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

from tests.contract.http_client import BOTH, Client, Reply, modern, request

VERSION = "2025-11-25"
REVISIONS = ("2025-03-26", "2025-06-18", VERSION, "2026-07-28")
T = TypeVar("T")
INITIALIZE = {"protocolVersion": VERSION, "clientInfo": {"name": "raw", "version": "1"}}


def messages(reply: Reply) -> list[Any]:
    """The JSON-RPC messages of a reply, be it JSON or a stream of events."""
    if reply.headers.get("content-type", "").startswith("application/json"):
        return [reply.json]
    return events(reply.body)


def events(body: bytes) -> list[Any]:
    """The messages of an event stream, without comments and empty events."""
    data = (line[5:].strip() for line in body.splitlines() if line.startswith(b"data:"))
    return [json.loads(text) for text in data if text]


async def event(client: Client) -> Any:
    """The next message of an open event stream, however a proxy has split it."""
    while True:
        first, end, client.unread = client.unread.partition(b"\n\n")
        if not end:
            client.unread = first + await client.chunk()
        elif received := events(first):
            return received[0]


def text(answer: Any) -> str:
    """The text that a tool returned."""
    return str(answer["result"]["content"][0]["text"])


def reason(answer: Any) -> str:
    """The reason of a fault, with which the fabric answered instead of the server."""
    return str(answer["error"]["data"]["reason"])


async def call(client: Client, tool: str, id: object = 1, path: str = "/mcp", **arguments: Any) -> Any:
    """Make a modern tool call; its response."""
    return messages(await client.ask("POST", path, *modern("tools/call", id, name=tool, arguments=arguments)))[-1]


async def call_request(client: Client, path: str, version: str, **params: Any) -> tuple[dict[str, str], bytes]:
    """Headers and body of a tool call in this revision, in a new session where the revision has sessions."""
    if version == REVISIONS[-1]:
        return modern("tools/call", **params)
    opening = request("initialize", **INITIALIZE | {"protocolVersion": version}, capabilities={})
    reply = await client.ask("POST", path, BOTH, opening)
    assert messages(reply)[-1]["result"]["protocolVersion"] == version
    session = {"Mcp-Session-Id": reply.headers["mcp-session-id"], "MCP-Protocol-Version": version}
    return BOTH | session, request("tools/call", **params)


async def begin_slow_call(client: Client, server: str, seconds: float, **headers: str) -> None:
    """Call the tool `slow`, and return once it has reported progress, and so runs."""
    params = {"name": "slow", "arguments": {"seconds": seconds}, "_meta": {"progressToken": "t"}}
    lines, body = modern("tools/call", **params)
    client.send("POST", f"/{server}/mcp", lines | headers, body)
    assert (await client.head()).headers["content-type"] == "text/event-stream"
    assert (await event(client))["method"] == "notifications/progress"


async def last_response(client: Client) -> Any:
    """Read such a call to its end; its response, which has to be the last message."""
    while piece := await client.chunk():
        client.unread += piece
    received, client.unread = events(client.unread), b""
    assert [message for message in received if "id" in message] == received[-1:]
    return received[-1]


async def eventually(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], timeout: float = 40.0) -> T:
    """Ask until the answer satisfies `holds`; that answer. Raises TimeoutError."""
    async with asyncio.timeout(timeout):
        while not holds(answer := await ask()):
            pass  # each question is a round trip
    return answer


@asynccontextmanager
async def connections(addresses: Iterable[str]) -> AsyncIterator[list[Client]]:
    """A connection to each address."""
    clients = [await Client.open(address) for address in addresses]
    try:
        yield clients
    finally:
        for client in clients:
            client.writer.close()


class Session:
    """A legacy session. Its id works on any connection to any edge: `at` is the same session on another one."""

    def __init__(self, client: Client, id: str, path: str, opened: Any) -> None:
        self.client = client
        self.id = id
        self.path = path
        self.opened = opened

    @classmethod
    async def open(cls, client: Client, path: str = "/mcp", capabilities: Any = None) -> Self:
        """Initialize a session, and send notifications/initialized."""
        body = request("initialize", "open", **INITIALIZE, capabilities=capabilities or {})
        reply = await client.ask("POST", path, BOTH, body)
        assert reply.status == 200, reply
        assert "mcp-session-id" in reply.headers, reply
        session = cls(client, reply.headers["mcp-session-id"], path, messages(reply)[-1])
        assert await session.notify("notifications/initialized") == 202
        return session

    def at(self, client: Client) -> Session:
        """The same session over another connection."""
        return Session(client, self.id, self.path, self.opened)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each of its requests."""
        return BOTH | {"Mcp-Session-Id": self.id, "MCP-Protocol-Version": VERSION}

    def post(self, body: bytes) -> None:
        """Send a message without waiting for what comes back."""
        self.client.send("POST", self.path, self.headers, body)

    async def ask(self, method: str, id: object = 1, **params: Any) -> Any:
        """Send a request; its response."""
        self.post(request(method, id, **params))
        return messages(await self.client.reply())[-1]

    async def call(self, tool: str, id: object = 1, **arguments: Any) -> Any:
        """Call a tool; the response."""
        return await self.ask("tools/call", id, name=tool, arguments=arguments)

    async def notify(self, method: str, **params: Any) -> int:
        """Send a notification; the status of the reply."""
        return await self.send({"method": method, "params": params})

    async def send(self, message: Any) -> int:
        """Send a notification or a response; the status of the reply."""
        self.post(json.dumps({"jsonrpc": "2.0", **message}).encode())
        return (await self.client.reply()).status

"""Clients of both eras over raw HTTP: what a test says to a running fabric, and the messages that come back."""

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
    """The messages of an event stream; comments and priming events hold none."""
    data = (line[5:].strip() for line in body.splitlines() if line.startswith(b"data:"))
    return [json.loads(text) for text in data if text]


async def event(client: Client) -> Any:
    """The next message of an open event stream, which a proxy cuts where it likes."""
    while True:
        first, end, client.unheard = client.unheard.partition(b"\n\n")
        if not end:
            client.unheard = first + await client.chunk()
        elif found := events(first):
            return found[0]


def text(answer: Any) -> str:
    """The text that a tool returned."""
    return str(answer["result"]["content"][0]["text"])


def reason(answer: Any) -> str:
    """Why the fabric answered instead of the server."""
    return str(answer["error"]["data"]["reason"])


async def call(client: Client, tool: str, id: object = 1, path: str = "/mcp", **arguments: Any) -> Any:
    """A modern tool call; its response."""
    return messages(await client.ask("POST", path, *modern("tools/call", id, name=tool, arguments=arguments)))[-1]


async def calling(client: Client, path: str, version: str, **params: Any) -> tuple[dict[str, str], bytes]:
    """Headers and body of a tool call in a revision, in a new session where that has sessions."""
    if version == REVISIONS[-1]:
        return modern("tools/call", **params)
    opening = request("initialize", **INITIALIZE | {"protocolVersion": version}, capabilities={})
    reply = await client.ask("POST", path, BOTH, opening)
    assert messages(reply)[-1]["result"]["protocolVersion"] == version
    session = {"Mcp-Session-Id": reply.headers["mcp-session-id"], "MCP-Protocol-Version": version}
    return BOTH | session, request("tools/call", **params)


async def begin(client: Client, server: str, seconds: float, **headers: str) -> None:
    """Call the tool `slow`, and return once it runs: it has reported progress."""
    params = {"name": "slow", "arguments": {"seconds": seconds}, "_meta": {"progressToken": "t"}}
    lines, body = modern("tools/call", **params)
    client.send("POST", f"/{server}/mcp", lines | headers, body)
    assert (await client.head()).headers["content-type"] == "text/event-stream"
    assert (await event(client))["method"] == "notifications/progress"


async def rest(client: Client) -> Any:
    """The response of such a call. Nothing comes after it."""
    while piece := await client.chunk():
        client.unheard += piece
    told, client.unheard = events(client.unheard), b""
    assert [message for message in told if "id" in message] == told[-1:]
    return told[-1]


async def eventually(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], timeout: float = 40.0) -> T:
    """Ask again and again until the answer is such. Raises TimeoutError."""
    async with asyncio.timeout(timeout):
        while not holds(answer := await ask()):
            pass  # each question is a round trip
    return answer


@asynccontextmanager
async def connections(addresses: Iterable[str]) -> AsyncIterator[list[Client]]:
    """One connection to each."""
    clients = [await Client.open(address) for address in addresses]
    try:
        yield clients
    finally:
        for client in clients:
            client.writer.close()


class Session:
    """A legacy session. Its id may be used on any connection, to any edge: `at` is that session there."""

    def __init__(self, client: Client, id: str, path: str, opened: Any) -> None:
        self.client = client
        self.id = id
        self.path = path
        self.opened = opened

    @classmethod
    async def open(cls, client: Client, path: str = "/mcp", capabilities: Any = None) -> Self:
        """Initialize, and say so."""
        body = request("initialize", "open", **INITIALIZE, capabilities=capabilities or {})
        reply = await client.ask("POST", path, BOTH, body)
        assert reply.status == 200, reply
        session = cls(client, reply.headers.get("mcp-session-id", ""), path, messages(reply)[-1])
        assert await session.notify("notifications/initialized") == 202
        return session

    def at(self, client: Client) -> Session:
        """The same session over another connection."""
        return Session(client, self.id, self.path, self.opened)

    @property
    def headers(self) -> dict[str, str]:
        """What each of its requests bears."""
        return BOTH | {"Mcp-Session-Id": self.id, "MCP-Protocol-Version": VERSION}

    def post(self, body: bytes) -> None:
        """Send a message without waiting for what comes back."""
        self.client.send("POST", self.path, self.headers, body)

    async def ask(self, method: str, id: object = 1, **params: Any) -> Any:
        """A request; its response."""
        self.post(request(method, id, **params))
        return messages(await self.client.reply())[-1]

    async def call(self, tool: str, id: object = 1, **arguments: Any) -> Any:
        """A tool call; its response."""
        return await self.ask("tools/call", id, name=tool, arguments=arguments)

    async def notify(self, method: str, **params: Any) -> int:
        """A notification; the status it got."""
        return await self.say({"method": method, "params": params})

    async def say(self, message: Any) -> int:
        """A notification or a response; the status it got."""
        self.post(json.dumps({"jsonrpc": "2.0", **message}).encode())
        return (await self.client.reply()).status

"""A scripted MCP peer for tests: it sends requests and notifications over a link, and answers by a script."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fabric.errors import LinkError
from fabric.links.base import Link, LinkInfo
from fabric.links.memory import pair
from fabric.mcp.jsonrpc import METHOD_NOT_FOUND, Message, MessageKind, error_frame, quoted

Answer = Callable[[Any], Any]
"""Makes a result of a request's decoded params (None without params)."""


class Peer:
    """A client or a server on one end of a link."""

    def __init__(self, link: Link, answers: Mapping[str, Answer] | None = None) -> None:
        """answers: the script, by method."""
        self.link = link
        self.received: list[Message] = []
        """All messages received, in order."""
        self._answers = answers or {}
        self._minted = 0

    async def call(self, method: str, params: object = None) -> Message:
        """Send a request and return its response. Messages before it are handled as by `step`."""
        self._minted += 1
        id = quoted(f"call-{self._minted}")
        self._send(method, params, id)
        while True:
            message = await self.step()
            if message.kind is MessageKind.RESPONSE and message.id == id:
                return message

    def notify(self, method: str, params: object = None) -> None:
        """Send a notification."""
        self._send(method, params)

    async def step(self) -> Message:
        """Receive one message, and answer it if it is a request: with METHOD_NOT_FOUND if the script lacks its method."""
        message = await self.link.receive()
        self.received.append(message)
        if message.kind is MessageKind.REQUEST:
            answer = self._answers.get(message.method)
            if answer is None:
                self.link.send(error_frame(message.id, METHOD_NOT_FOUND, f"no {message.method} in the script"))
            else:
                result = answer(msgspec.json.decode(message.params) if message.params else None)
                self.link.send(msgspec.json.encode({"jsonrpc": "2.0", "id": msgspec.Raw(message.id), "result": result}))
        return message

    async def run(self) -> None:
        """Receive and answer messages until the link ends."""
        try:
            while True:
                await self.step()
        except LinkError:
            return

    def _send(self, method: str, params: object, id: bytes = b"") -> None:
        members: dict[str, object] = {"jsonrpc": "2.0", "method": method}
        if id:
            members["id"] = msgspec.Raw(id)
        if params is not None:
            members["params"] = params
        self.link.send(msgspec.json.encode(members))


def peers(
    client_answers: Mapping[str, Answer] | None = None, server_answers: Mapping[str, Answer] | None = None
) -> tuple[Peer, Peer]:
    """A client and a server, connected in memory."""
    client, server = pair(LinkInfo(id="client", transport="memory"), LinkInfo(id="server", transport="memory"))
    return Peer(client, client_answers), Peer(server, server_answers)

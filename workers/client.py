"""A small MCP client of both eras over any link, for `call` and `doctor`: one request at a time.

It begins as 2026-07-28 (basic/transports/stdio, Backward Compatibility) asks a dual-era client to: server/discover, and
initialize where the answer is not a recognised modern one, or none. It can do nothing for a server: what a server asks of it
is refused, a ping excepted.
"""

from __future__ import annotations

from importlib.metadata import version
from itertools import count
from typing import Any

import msgspec

from fabric import jsonrpc
from fabric.core import eras
from fabric.core.catalog import PAGES_MOST
from fabric.core.faults import CODES
from fabric.errors import FabricError
from fabric.jsonrpc import Message, MessageKind
from fabric.links.base import Link


class Refused(FabricError):
    """A JSON-RPC error response. `reason`: of the fabric's own errors, else empty."""

    def __init__(self, code: int, message: str, data: Any) -> None:
        super().__init__(message)
        self.code = code
        self.data = data
        ours = code in CODES.values() and isinstance(data, dict)
        self.reason: str = data.get("reason", "") if ours else ""


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""
    data: Any = None


class _Response(msgspec.Struct):
    result: dict[str, Any] = {}
    error: _Error | None = None


class Client:
    """One conversation. `eras`: what the server speaks, once opened; the first is the one spoken."""

    def __init__(self, link: Link) -> None:
        self.eras: tuple[str, ...] = ()
        self._link = link
        self._numbers = count(1)
        self._who = {"name": "mcp-fabric", "version": version("mcp-transport-fabric")}

    async def open(self, *, modern: bool = True) -> None:
        """Find out the server's era; `modern` is False for a server that is known to die of the question.

        Raises Refused, and whatever the link raises.
        """
        if modern and await self._discovered():
            return
        self.eras = (eras.LEGACY,)
        opening = {"protocolVersion": eras.LATEST_LEGACY, "capabilities": {}, "clientInfo": self._who}
        await self.request("initialize", opening)
        self._send({"method": "notifications/initialized"})

    async def _discovered(self) -> bool:
        self.eras = (eras.MODERN,)
        answer = await self._exchange("server/discover", {})  # the fabric waits for a server that starts, to its deadline
        found = eras.judge(answer)
        if eras.MODERN in found:
            result = _result(answer)
            if jsonrpc.MODERN_VERSION in result["supportedVersions"]:
                self.eras = found
                return True
            if eras.LEGACY not in found:
                raise Refused(jsonrpc.UNSUPPORTED_VERSION, "it speaks no revision that this client does", result)
        elif answer.error and (refusal := _refusal(answer)).reason:
            raise refusal  # the fabric's own: asking in another way does not help
        return False

    async def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The result. Raises Refused, and whatever the link raises."""
        return _result(await self._exchange(method, params))

    async def tools(self) -> list[dict[str, Any]]:
        """All tools that it lists; none of a server that has no list. Raises as `request`."""
        found: list[dict[str, Any]] = []
        cursor: Any = None
        for _ in range(PAGES_MOST):
            try:
                page = await self.request("tools/list", {"cursor": cursor} if cursor else {})
            except Refused as refused:
                if refused.code == jsonrpc.METHOD_NOT_FOUND:
                    break
                raise
            listed, cursor = page.get("tools"), page.get("nextCursor")
            found += [tool for tool in listed if isinstance(tool, dict)] if isinstance(listed, list) else []
            if not cursor:
                break
        return found

    async def _exchange(self, method: str, params: dict[str, Any]) -> Message:
        id = f"fabric-{next(self._numbers)}"
        if self.eras[0] == eras.MODERN:
            meta = {
                "io.modelcontextprotocol/protocolVersion": jsonrpc.MODERN_VERSION,
                "io.modelcontextprotocol/clientInfo": self._who,
                "io.modelcontextprotocol/clientCapabilities": {},
            }
            params = {**params, "_meta": meta}
        self._send({"id": id, "method": method, "params": params})
        while True:
            message = await self._link.receive()
            if message.kind is MessageKind.RESPONSE and message.id == jsonrpc.quoted(id):
                return message
            if message.kind is MessageKind.REQUEST:
                self._reply(message)

    def _reply(self, asked: Message) -> None:
        if asked.method == "ping":
            self._link.send(jsonrpc.empty_result(asked.id))
        else:
            self._link.send(jsonrpc.error_frame(asked.id, jsonrpc.METHOD_NOT_FOUND, "this client can only call"))

    def _send(self, message: dict[str, Any]) -> None:
        self._link.send(msgspec.json.encode({"jsonrpc": "2.0", **message}))


def _result(answer: Message) -> dict[str, Any]:
    if answer.error:
        raise _refusal(answer)
    try:
        return msgspec.json.decode(answer.frame, type=_Response).result
    except msgspec.ValidationError as error:
        raise Refused(jsonrpc.INVALID_REQUEST, f"its result is no object: {error}", None) from error


def _refusal(answer: Message) -> Refused:
    try:
        error = msgspec.json.decode(answer.error, type=_Error)
    except msgspec.ValidationError:
        return Refused(jsonrpc.INVALID_REQUEST, f"a malformed error: {bytes(answer.error)[:200]!r}", None)
    return Refused(error.code, error.message, error.data)

"""A small MCP client of both eras over any link, one request at a time; for the asking commands, `doctor` and `up`.

It begins as 2026-07-28 (basic/transports/stdio, Backward Compatibility) asks a dual-era client to: with server/discover, and
with initialize where the answer is not a recognised modern one, or none. A Host (workers/answering) answers what a server asks,
by a request of its own or by `input_required`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import count
from typing import Any

import msgspec

from fabric.errors import FabricError, LinkError
from fabric.faults import CODES
from fabric.links.base import Link
from fabric.mcp import eras, jsonrpc
from fabric.mcp.answers import Error
from fabric.mcp.jsonrpc import Message, MessageKind
from fabric.mcp.requests import initialize_params, modern_meta
from fabric.mcp.tools import PAGES_MOST
from workers.answering.host import Host, Nobody, Unanswered

COME_AGAIN = 1.0
"""Seconds before a request is sent again where a server asks for that and for nothing else."""
URL_ELICITATION_REQUIRED = -32042
"""The error of 2025-11-25 for a call that the client sends again once pages have been opened."""
LOG_LEVEL = "info"
"""The lowest level of the log messages that a modern server is asked for during a call."""


class Refused(FabricError):
    """A JSON-RPC error response."""

    def __init__(self, code: int, message: str, data: Any) -> None:
        super().__init__(message)
        self.code = code
        self.data = data
        ours = code in CODES.values() and isinstance(data, dict)
        self.reason: str = data.get("reason", "") if ours else ""
        """The reason of an error of the fabric's own; else empty."""


class _Response(msgspec.Struct):
    result: dict[str, Any] = {}


class Client:
    """One conversation."""

    def __init__(self, link: Link, host: Host | None = None) -> None:
        self.eras: tuple[str, ...] = ()
        """The eras that the server speaks, known once `open` has returned; the client speaks the first."""
        self._link = link
        self._host = host or Nobody()
        self._numbers = count(1)
        self._one_at_a_time = asyncio.Lock()
        self._who = {"name": "mcp-fabric", "version": version("mcp-transport-fabric")}

    async def open(self, *, modern: bool = True) -> None:
        """Find out the server's era. modern: False for a server that is known to die of the question.

        Raises Refused, and whatever the link raises.
        """
        if modern and await self._discovered():
            return
        self.eras = (eras.LEGACY,)
        await self.request("initialize", initialize_params(self._who, self._host.capabilities))
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
        """All tools of the server; none of a server without a list. Raises as `request`."""
        return await self.all("tools/list", "tools")

    async def all(self, method: str, key: str) -> list[dict[str, Any]]:
        """All items under `key`, from all pages; none if the server does not know the method. Raises as `request`."""
        found: list[dict[str, Any]] = []
        cursor: Any = None
        for _ in range(PAGES_MOST):
            try:
                page = await self.request(method, {"cursor": cursor} if cursor else {})
            except Refused as refused:
                if refused.code == jsonrpc.METHOD_NOT_FOUND:
                    break
                raise
            listed, cursor = page.get(key), page.get("nextCursor")
            found += [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
            if not cursor:
                break
        return found

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The result of a tool, once the host has answered all that it asks for. Raises Unanswered, and as `request`."""
        meta = {"progressToken": f"call-{next(self._numbers)}"}
        if self.eras[0] == eras.MODERN:
            meta["io.modelcontextprotocol/logLevel"] = LOG_LEVEL
        asked = {"name": tool, "arguments": arguments, "_meta": meta}
        params = asked
        while True:
            try:
                result = await self.request("tools/call", params)
            except Refused as refused:
                if not await self._pages_opened(refused):
                    raise
                continue
            if result.get("resultType") != "input_required":
                return result
            params = dict(asked)
            if wanted := result.get("inputRequests"):
                params["inputResponses"] = {key: await self._host.answer(*_question(each)) for key, each in wanted.items()}
            else:
                await asyncio.sleep(COME_AGAIN)
            if "requestState" in result:
                params["requestState"] = result["requestState"]

    async def _pages_opened(self, refused: Refused) -> bool:
        """Whether the call was refused only until pages are opened (2025-11-25), and all of them have been opened now."""
        found = refused.data.get("elicitations") if isinstance(refused.data, dict) else None
        pages = [page for page in found if isinstance(page, dict)] if isinstance(found, list) else []
        if refused.code != URL_ELICITATION_REQUIRED or not pages:
            return False
        answers = [await self._host.answer("elicitation/create", page) for page in pages]
        return all(each.get("action") == "accept" for each in answers)

    async def _exchange(self, method: str, params: dict[str, Any]) -> Message:
        id = f"fabric-{next(self._numbers)}"
        if self.eras[0] == eras.MODERN:
            meta = modern_meta(self._who, self._host.capabilities)
            params = {**params, "_meta": {**params.get("_meta", {}), **meta}}
        self._send({"id": id, "method": method, "params": params})
        async with _answering() as answering:
            while True:
                message = await self._link.receive()
                if message.kind is MessageKind.RESPONSE and message.id == jsonrpc.quoted(id):
                    return message
                if message.kind is MessageKind.REQUEST:
                    answering.add(asyncio.create_task(self._reply(message)))
                elif message.kind is MessageKind.NOTIFICATION:
                    self._host.on_notification(message.method, _params(message))

    async def _reply(self, asked: Message) -> None:
        """Answer a request of a legacy server. A person gets one question at a time."""
        if asked.method == "ping":
            self._link.send(jsonrpc.empty_result(asked.id))
            return
        async with self._one_at_a_time:
            try:
                result = await self._host.answer(asked.method, _params(asked))
            except Unanswered as error:
                self._link.send(jsonrpc.error_frame(asked.id, error.code, str(error)))
            else:
                frame = msgspec.json.encode({"jsonrpc": "2.0", "id": msgspec.Raw(asked.id), "result": result})
                self._link.send(frame)

    def _send(self, message: dict[str, Any]) -> None:
        self._link.send(msgspec.json.encode({"jsonrpc": "2.0", **message}))


@asynccontextmanager
async def _answering() -> AsyncIterator[set[asyncio.Task[None]]]:
    """Tasks that are cancelled once the request that they belong to is answered."""
    tasks: set[asyncio.Task[None]] = set()
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception) and not isinstance(ended, LinkError):
                raise ended


def _params(message: Message) -> dict[str, Any]:
    try:
        return jsonrpc.decode(message.params, dict[str, Any])
    except msgspec.DecodeError:
        return {}


def _question(asked: Any) -> tuple[str, dict[str, Any]]:
    """The method and the params of one of a server's `inputRequests`."""
    question = asked if isinstance(asked, dict) else {}
    method, params = question.get("method"), question.get("params")
    return method if isinstance(method, str) else "something", params if isinstance(params, dict) else {}


def _result(answer: Message) -> dict[str, Any]:
    if answer.error:
        raise _refusal(answer)
    try:
        return jsonrpc.decode(answer.frame, _Response).result
    except msgspec.ValidationError as error:
        raise Refused(jsonrpc.INVALID_REQUEST, f"its result is no object: {error}", None) from error


def _refusal(answer: Message) -> Refused:
    try:
        error = jsonrpc.decode(answer.error, Error)
    except msgspec.ValidationError:
        return Refused(jsonrpc.INVALID_REQUEST, f"a malformed error: {bytes(answer.error)[:200]!r}", None)
    return Refused(error.code, error.message, error.data)

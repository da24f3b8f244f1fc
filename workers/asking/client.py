"""A small MCP client of both eras over any link, one request at a time; for the asking commands, `doctor` and `up`.

It begins as 2026-07-28 (basic/transports/stdio, Backward Compatibility) asks a dual-era client to: with server/discover, then
with initialize if there is no answer, or none that is recognised as modern. A Host (workers/answering) answers the server's
questions, both requests and `input_required`.
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
from workers.answering.host import Host, NoHost, Unanswered

RETRY_AFTER = 1.0
"""Seconds before a call is sent again whose server asks for that, by `input_required`, and for no input."""
URL_ELICITATION_REQUIRED = -32042
"""The error of 2025-11-25 for a call that the client sends again once pages have been opened."""
LOG_LEVEL = "info"
"""The lowest level of log messages that a modern server is asked to send during a call."""


class Refused(FabricError):
    """A JSON-RPC error response."""

    def __init__(self, code: int, message: str, data: Any) -> None:
        super().__init__(message)
        self.code = code
        self.data = data
        ours = code in CODES.values() and isinstance(data, dict)
        self.reason: str = data.get("reason", "") if ours else ""
        """The reason, if the error is one of the fabric's own; else empty."""


class _Response(msgspec.Struct):
    result: dict[str, Any] = {}


class Client:
    """One conversation."""

    def __init__(self, link: Link, host: Host | None = None) -> None:
        self.eras: tuple[str, ...] = ()
        """The eras that the server speaks, known once `open` has returned; the client speaks the first."""
        self._link = link
        self._host = host or NoHost()
        self._numbers = count(1)
        self._one_at_a_time = asyncio.Lock()
        self._client_info = {"name": "mcp-fabric", "version": version("mcp-transport-fabric")}

    async def open(self, *, modern: bool = True) -> None:
        """Open the conversation in an era that the server speaks. modern: False for a server that server/discover would end.

        Raises Refused, and the errors of the link.
        """
        if modern and await self._discovered():
            return
        self.eras = (eras.LEGACY,)
        await self.request("initialize", initialize_params(self._client_info, self._host.capabilities))
        self._send({"method": "notifications/initialized"})

    async def _discovered(self) -> bool:
        self.eras = (eras.MODERN,)
        answer = await self._exchange("server/discover", {})  # for a server that starts, the fabric waits
        spoken = eras.judge(answer)
        if eras.MODERN in spoken:
            result = _result(answer)
            if jsonrpc.MODERN_VERSION in result["supportedVersions"]:
                self.eras = spoken
                return True
            if eras.LEGACY not in spoken:
                reason = "the server supports no revision that this client supports"
                raise Refused(jsonrpc.UNSUPPORTED_VERSION, reason, result)
        elif answer.error and (refusal := _refusal(answer)).reason:
            raise refusal  # the fabric's own: asking in another way does not help
        return False

    async def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The result of a request. Raises Refused, and the errors of the link."""
        return _result(await self._exchange(method, params))

    async def tools(self) -> list[dict[str, Any]]:
        """All tools of the server; none if it cannot list them. Raises as `request`."""
        return await self.all("tools/list", "tools")

    async def all(self, method: str, key: str) -> list[dict[str, Any]]:
        """All items under `key`, from all pages; none if the server does not know the method. Raises as `request`."""
        items: list[dict[str, Any]] = []
        cursor: Any = None
        for _ in range(PAGES_MOST):
            try:
                page = await self.request(method, {"cursor": cursor} if cursor else {})
            except Refused as refused:
                if refused.code == jsonrpc.METHOD_NOT_FOUND:
                    break
                raise
            listed, cursor = page.get(key), page.get("nextCursor")
            items += [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
            if not cursor:
                break
        return items

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool; the host answers its questions. Returns the result. Raises Unanswered, and as `request`."""
        meta = {"progressToken": f"call-{next(self._numbers)}"}
        if self.eras[0] == eras.MODERN:
            meta["io.modelcontextprotocol/logLevel"] = LOG_LEVEL
        original = {"name": tool, "arguments": arguments, "_meta": meta}
        params = original
        while True:
            try:
                result = await self.request("tools/call", params)
            except Refused as refused:
                if not await self._pages_opened(refused):
                    raise
                continue
            if result.get("resultType") != "input_required":
                return result
            params = dict(original)
            if wanted := result.get("inputRequests"):
                params["inputResponses"] = {key: await self._host.answer(*_question(each)) for key, each in wanted.items()}
            else:
                await asyncio.sleep(RETRY_AFTER)
            if "requestState" in result:
                params["requestState"] = result["requestState"]

    async def _pages_opened(self, refused: Refused) -> bool:
        """Whether the call was refused only until pages are opened (2025-11-25), and all of them have been opened now."""
        elicitations = refused.data.get("elicitations") if isinstance(refused.data, dict) else None
        pages = [page for page in elicitations if isinstance(page, dict)] if isinstance(elicitations, list) else []
        if refused.code != URL_ELICITATION_REQUIRED or not pages:
            return False
        answers = [await self._host.answer("elicitation/create", page) for page in pages]
        return all(each.get("action") == "accept" for each in answers)

    async def _exchange(self, method: str, params: dict[str, Any]) -> Message:
        id = f"fabric-{next(self._numbers)}"
        if self.eras[0] == eras.MODERN:
            meta = modern_meta(self._client_info, self._host.capabilities)
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

    async def _reply(self, request: Message) -> None:
        """Answer a request of a legacy server. A person gets one question at a time."""
        if request.method == "ping":
            self._link.send(jsonrpc.empty_result(request.id))
            return
        async with self._one_at_a_time:
            try:
                result = await self._host.answer(request.method, _params(request))
            except Unanswered as error:
                self._link.send(jsonrpc.error_frame(request.id, error.code, str(error)))
            else:
                frame = msgspec.json.encode({"jsonrpc": "2.0", "id": msgspec.Raw(request.id), "result": result})
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


def _question(request: Any) -> tuple[str, dict[str, Any]]:
    """The method and the params of one of a server's `inputRequests`."""
    question = request if isinstance(request, dict) else {}
    method, params = question.get("method"), question.get("params")
    return method if isinstance(method, str) else "something", params if isinstance(params, dict) else {}


def _result(answer: Message) -> dict[str, Any]:
    if answer.error:
        raise _refusal(answer)
    try:
        return jsonrpc.decode(answer.frame, _Response).result
    except msgspec.ValidationError as error:
        raise Refused(jsonrpc.INVALID_REQUEST, f"the result is not an object: {error}", None) from error


def _refusal(answer: Message) -> Refused:
    try:
        error = jsonrpc.decode(answer.error, Error)
    except msgspec.ValidationError:
        return Refused(jsonrpc.INVALID_REQUEST, f"a malformed error: {bytes(answer.error)[:200]!r}", None)
    return Refused(error.code, error.message, error.data)

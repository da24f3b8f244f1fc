"""Rewrites the answers and notifications of a modern server for a legacy client. Pure."""

from __future__ import annotations

import msgspec

from fabric.mcp import answers, jsonrpc
from fabric.mcp.across_eras import revisions
from fabric.mcp.across_eras.results import NOT_FOUND_BEFORE, SERVER_INFO
from fabric.mcp.jsonrpc import Message
from fabric.mcp.members import Members, joined, members, response

_MODERN_META = frozenset((SERVER_INFO, "io.modelcontextprotocol/subscriptionId"))
_MODERN_RESULT = frozenset(("resultType", "ttlMs", "cacheScope"))
_LISTS = {"toolsListChanged": "tools", "promptsListChanged": "prompts", "resourcesListChanged": "resources"}


class _Answer(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw()


def answer(message: Message, id: bytes, method: str, revision: str) -> bytes:
    """The response as a client of this revision knows it. id: raw JSON. method: of the request."""
    if message.error:
        return _failed(id, _error(message, method))
    result = members(result_of(message))
    kind = jsonrpc.text(result.get("resultType", b'"complete"'))
    if kind != "complete":
        text = f"the server answered with a result of the type {kind!r}, which MCP {revision} does not know"
        return jsonrpc.error_frame(id, jsonrpc.INTERNAL_ERROR, text)
    plain = {name: value for name, value in _without_meta(result).items() if name not in _MODERN_RESULT}
    return response(id, joined(revisions.result(method, plain, revision)))


def initialized(message: Message, id: bytes, revision: str, name: str) -> bytes:
    """The answer to an initialize, from that to server/discover. id: raw JSON. name: of a server that does not name itself."""
    if message.error:
        error = members(message.error)
        if answers.error_code(message) == jsonrpc.UNSUPPORTED_VERSION:  # it speaks none of the revisions that are known here
            error["code"] = msgspec.Raw(b"%d" % jsonrpc.INVALID_PARAMS)
        return _failed(id, joined(error))
    result = members(result_of(message))
    info = members(members(result.get("_meta", b"")).get(SERVER_INFO, b""))
    opened: dict[str, bytes] = {
        "protocolVersion": jsonrpc.quoted(revision),
        "capabilities": joined(revisions.capabilities(capabilities(message), revision)),
        "serverInfo": joined(revisions.server_info(info, revision) or {"name": jsonrpc.quoted(name), "version": b'""'}),
    }
    if "instructions" in result:
        opened["instructions"] = result["instructions"]
    return response(id, joined(opened))


def result_of(message: Message) -> msgspec.Raw:
    """The result of a response, raw JSON."""
    return jsonrpc.decode(message.frame, _Answer).result


def capabilities(message: Message) -> Members:
    """The capabilities in the answer to server/discover."""
    return members(members(result_of(message)).get("capabilities", b""))


def changing_lists(declared: Members) -> tuple[str, ...]:
    """The list changes that a server with these capabilities notifies of, by their names in the filter of a listen request."""
    return tuple(kind for kind, name in _LISTS.items() if _declares(declared, name, "listChanged"))


def subscribable(declared: Members) -> bool:
    """Whether a server with these capabilities notifies of updates of resources."""
    return _declares(declared, "resources", "subscribe")


def notification(message: Message, revision: str) -> bytes:
    """A notification without what the revision does not know."""
    if b"io.modelcontextprotocol/" not in message.frame and revision >= revisions.PROGRESS_MESSAGES:
        return message.frame
    params = revisions.notification(message.method, _without_meta(members(message.params)), revision)
    return joined(members(message.frame) | {"params": msgspec.Raw(joined(params))})


def _error(message: Message, method: str) -> bytes:
    """The error; in the older revisions, a resource that is not there has a code of its own, with its URI as data."""
    error = members(message.error)
    unread = method == "resources/read" and answers.error_code(message) == jsonrpc.INVALID_PARAMS
    if not unread or "uri" not in members(error.get("data", b"")):
        return bytes(message.error)
    return joined(error | {"code": msgspec.Raw(b"%d" % NOT_FOUND_BEFORE)})


def _failed(id: bytes, error: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":' + id + b',"error":' + error + b"}"


def _without_meta(given: Members) -> Members:
    """The members without those of `_meta` that only a modern client knows, and without a `_meta` that is empty then."""
    if "_meta" not in given:
        return given
    kept = {key: value for key, value in members(given["_meta"]).items() if key not in _MODERN_META}
    rest = {name: value for name, value in given.items() if name != "_meta"}
    return rest | {"_meta": msgspec.Raw(joined(kept))} if kept else rest


def _declares(declared: Members, name: str, flag: str) -> bool:
    return bytes(members(declared.get(name, b"")).get(flag, b"")) == b"true"

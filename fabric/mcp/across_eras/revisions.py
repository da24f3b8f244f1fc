"""What each revision with sessions knows, and results without what the client's revision does not know. Pure.

A value of a shape that is not known here stays as it is: the client judges it. (The change logs of 2025-03-26, 2025-06-18,
2025-11-25 and 2026-07-28.)
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fabric.mcp import jsonrpc
from fabric.mcp.initialize import LATEST_LEGACY
from fabric.mcp.members import Members, joined, members

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", LATEST_LEGACY)
"""The revisions with sessions."""

_SHOWN = {"title": "2025-06-18", "icons": "2025-11-25"}
_LISTS = {
    "tools/list": ("tools", _SHOWN | {"annotations": "2025-03-26", "outputSchema": "2025-06-18"}),
    "prompts/list": ("prompts", _SHOWN),
    "resources/list": ("resources", _SHOWN),
    "resources/templates/list": ("resourceTemplates", _SHOWN),
}  # the list in each result; the members of its entries that the first revision did not know, and since when they are known
_SERVER_INFO = _SHOWN | {"description": "2025-11-25", "websiteUrl": "2025-11-25"}
_CAPABILITIES = {"completions": "2025-03-26", "extensions": jsonrpc.MODERN_VERSION}
_CONTENT = {"audio": "2025-03-26", "resource_link": "2025-06-18"}
_STRUCTURED = "2025-06-18"  # since then there is structuredContent, and content of every kind is known
_ELICIT_MODES = "2025-11-25"

PROGRESS_MESSAGES = "2025-03-26"
"""Since when progress may have a message."""


def negotiated(offered: str) -> str:
    """The revision to speak with a client that offers this one (2025-11-25 basic/lifecycle, Version Negotiation)."""
    return offered if offered in REVISIONS else LATEST_LEGACY


def capabilities(declared: Members, revision: str) -> Members:
    """A modern server's capabilities, as far as a revision knows them."""
    return _known(declared, _CAPABILITIES, revision)


def server_info(info: Members, revision: str) -> Members:
    """A server's name and version, as far as a revision knows them."""
    return _known(info, _SERVER_INFO, revision)


def result(method: str, given: Members, revision: str) -> Members:
    """The result of this method, as far as a revision knows its members."""
    if method in _LISTS:
        name, since = _LISTS[method]
        return _with_each(given, name, lambda entry: _entry(entry, since, revision))
    if method == "tools/call":
        structured = given.get("structuredContent")
        if structured is not None and (revision < _STRUCTURED or bytes(structured)[:1] != b"{"):
            given = {name: value for name, value in given.items() if name != "structuredContent"}
        return _with_each(given, "content", lambda block: _content(block, revision)) if revision < _STRUCTURED else given
    if method == "prompts/get" and revision < _STRUCTURED:
        return _with_each(given, "messages", lambda message: _prompt_message(message, revision))
    return given


def notification(method: str, params: Members, revision: str) -> Members:
    """The params of a notification of this method, as far as a revision knows them."""
    return _known(params, {"message": PROGRESS_MESSAGES}, revision) if method == "notifications/progress" else params


def input_params(params: Members, id: str, revision: str) -> Members:
    """The params of a question to a client. id: of the question; where it asks to open a URL, also of that visit."""
    if jsonrpc.text(params.get("mode", b"")) == "url":
        return {"elicitationId": msgspec.Raw(jsonrpc.quoted(id))} | params
    return _known(params, {"mode": _ELICIT_MODES}, revision)


def _entry(entry: Members, since: dict[str, str], revision: str) -> Members:
    """An entry of a list. An output schema of anything but an object came with 2026-07-28."""
    known = _known(entry, since, revision)
    if "outputSchema" in known and jsonrpc.text(members(known["outputSchema"]).get("type", b"")) != "object":
        del known["outputSchema"]
    return known


def _prompt_message(message: Members, revision: str) -> Members:
    return message | {"content": msgspec.Raw(joined(_content(members(message.get("content", b"")), revision)))}


def _content(block: Members, revision: str) -> Members:
    """A block of content; one of a kind that the revision does not know becomes a text that says so."""
    kind = jsonrpc.text(block.get("type", b""))
    if _CONTENT.get(kind, "") <= revision:
        return block
    if kind == "resource_link":
        text = f"Resource: {jsonrpc.text(block.get('name', b''))} ({jsonrpc.text(block.get('uri', b''))})"
    else:
        text = f"Audio ({jsonrpc.text(block.get('mimeType', b''))}), which MCP {revision} cannot carry"
    return {"type": msgspec.Raw(b'"text"'), "text": msgspec.Raw(jsonrpc.quoted(text))}


def _known(given: Members, since: dict[str, str], revision: str) -> Members:
    return {name: value for name, value in given.items() if since.get(name, "") <= revision}


def _with_each(given: Members, name: str, change: Callable[[Members], Members]) -> Members:
    """The members, with each object of the array `name` changed."""
    try:
        entries = jsonrpc.decode(bytes(given.get(name, b"null")), list[Members])
    except msgspec.DecodeError:
        return given
    return given | {name: msgspec.Raw(b"[" + b",".join(joined(change(entry)) for entry in entries) + b"]")}

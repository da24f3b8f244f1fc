"""Rewrites requests of a legacy client for a modern server, which wants to know the client with each of them. Pure.

(2026-07-28 basic/index, `_meta`; basic/patterns/subscriptions.)
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fabric.errors import InvalidFrame
from fabric.mcp import jsonrpc
from fabric.mcp.initialize import Offer
from fabric.mcp.jsonrpc import Message
from fabric.mcp.members import Members, joined, members, request

LOG_LEVEL = "io.modelcontextprotocol/logLevel"
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""The levels that a client may ask for, the lowest first (2026-07-28 server/utilities/logging)."""


def client_meta(offer: Offer) -> Members:
    """What each request says of the client that makes it."""
    return {
        "io.modelcontextprotocol/protocolVersion": msgspec.Raw(jsonrpc.quoted(jsonrpc.MODERN_VERSION)),
        "io.modelcontextprotocol/clientInfo": offer.client,
        "io.modelcontextprotocol/clientCapabilities": offer.capabilities,
    }


def modern(message: Message, id: bytes, meta: Members, level: str, more: Members | None = None) -> bytes:
    """A legacy request as a modern one with this raw id; the client's own `_meta` stays beside `meta`.

    level: the log level that the client has set; may be empty. more: to be added to the params. Raises InvalidFrame where they
    are no object.
    """
    if bytes(message.params)[:1] not in (b"", b"{"):
        raise InvalidFrame(jsonrpc.INVALID_PARAMS, "params are not an object")
    params = members(message.params)
    own = members(params.get("_meta", b"")) | meta
    if level:
        own[LOG_LEVEL] = msgspec.Raw(jsonrpc.quoted(level))
    changed = params | (more or {}) | {"_meta": msgspec.Raw(joined(own))}
    return bytes(joined(members(message.frame) | {"id": msgspec.Raw(id), "params": msgspec.Raw(joined(changed))}))


def discover(initialize: Message, id: bytes, meta: Members) -> bytes:
    """The server/discover that asks in the name of a client what its initialize has asked. id: raw JSON."""
    traceparent = jsonrpc.meta(initialize).fields.traceparent
    own = meta | ({"traceparent": traceparent} if traceparent else {})
    return request(id, "server/discover", joined({"_meta": joined(own)}))


def listen(id: bytes, meta: Members, kinds: Iterable[str], uris: Iterable[str]) -> bytes:
    """A subscriptions/listen for these kinds of list changes, by the names of its filter, and for updates of these URIs."""
    wanted: dict[str, object] = dict.fromkeys(kinds, True)
    if named := list(uris):
        wanted["resourceSubscriptions"] = named
    return request(id, "subscriptions/listen", joined({"_meta": joined(meta), "notifications": msgspec.json.encode(wanted)}))

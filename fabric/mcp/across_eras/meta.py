"""Takes out of a modern request what a server of a revision with sessions does not know. Pure.

(2026-07-28 basic/index, `_meta`; basic/patterns/mrtr for `requestState` and `inputResponses`.)
"""

from __future__ import annotations

from fabric.mcp.jsonrpc import Message
from fabric.mcp.members import joined, members, request

RESERVED = "io.modelcontextprotocol/"
"""How the keys in `_meta` begin that the specification reserves."""
MODERN_KEYS = tuple(f"{RESERVED}{name}" for name in ("protocolVersion", "clientInfo", "clientCapabilities", "logLevel"))
"""The keys of a modern request's `_meta` that describe its client, which a legacy client says in initialize."""


def without_client(message: Message, id: bytes) -> bytes:
    """The request without what describes its client, and without the input for a parked call. id: its new raw id."""
    params = members(message.params)
    for key in ("requestState", "inputResponses"):
        params.pop(key, None)
    meta = members(params.get("_meta", b""))
    if meta:
        kept = {key: value for key, value in meta.items() if key not in MODERN_KEYS}
        if kept:
            return request(id, message.method, joined({key: joined(kept) if key == "_meta" else params[key] for key in params}))
        del params["_meta"]
    return request(id, message.method, joined(params))

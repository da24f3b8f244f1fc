"""Turns a response of a legacy server into one of the modern revision. Pure.

(2026-07-28 basic/index, Responses; server/utilities/caching; server/resources, Error Handling.)
"""

from __future__ import annotations

import msgspec

from fabric.mcp import jsonrpc
from fabric.mcp.answers import error_code
from fabric.mcp.jsonrpc import Message
from fabric.mcp.members import joined, members, response

CACHEABLE = frozenset(
    {
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
    }
)
"""The methods whose results say how long and by whom they may be kept (2026-07-28 server/utilities/caching)."""

NOT_FOUND_BEFORE = -32002
"""The code of revisions before 2026-07-28 for a resource that is not there; since then it is INVALID_PARAMS."""
SERVER_INFO = "io.modelcontextprotocol/serverInfo"

_CACHING = {"ttlMs": b"0", "cacheScope": b'"private"'}  # a legacy server does not say that others may see it, or for how long


class _Answer(msgspec.Struct, gc=False):
    result: msgspec.Raw = msgspec.Raw()


def modern(answer: Message, id: bytes, method: str, server_info: bytes) -> bytes:
    """The response as a modern client is to get it. id: its new raw id. server_info: of the server, raw; may be empty."""
    if answer.error:
        if error_code(answer) != NOT_FOUND_BEFORE:
            return b'{"jsonrpc":"2.0","id":' + id + b',"error":' + bytes(answer.error) + b"}"
        error = members(answer.error) | {"code": b"%d" % jsonrpc.INVALID_PARAMS}
        return b'{"jsonrpc":"2.0","id":' + id + b',"error":' + joined(error) + b"}"
    return response(id, complete(jsonrpc.decode(answer.frame, _Answer).result, method, server_info))


def complete(result: msgspec.Raw | bytes, method: str, server_info: bytes) -> bytes:
    """A result with all that the modern schema wants of it."""
    own = members(result)
    whole: dict[str, msgspec.Raw | bytes] = {"resultType": b'"complete"'}
    if method in CACHEABLE:
        whole |= _CACHING
    whole |= own
    if server_info:
        whole["_meta"] = joined({SERVER_INFO: server_info} | members(own.get("_meta", b"")))
    return joined(whole)

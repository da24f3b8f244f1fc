"""Makes the result of server/discover from a legacy server's answer to initialize. Pure.

(2026-07-28 server/discover; 2025-11-25 basic/lifecycle, Capability Negotiation.)
"""

from __future__ import annotations

import msgspec

from fabric.mcp import jsonrpc
from fabric.mcp.across_eras.results import complete
from fabric.mcp.members import joined, members

LEGACY_CAPABILITIES = frozenset({"tasks"})
"""The capabilities of servers that mean something else, or nothing, since 2026-07-28."""

_EMPTY = msgspec.Raw(b"{}")


class Initialized(msgspec.Struct, frozen=True):
    """What a server says of itself when it answers initialize."""

    capabilities: msgspec.Raw = _EMPTY
    """Its capabilities, raw JSON."""
    server_info: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="serverInfo")
    """Its name and version, raw JSON; empty if it does not say."""
    instructions: msgspec.Raw = msgspec.Raw()
    """How to use it, raw JSON; empty if it does not say."""


class _Answer(msgspec.Struct):
    result: Initialized = Initialized()


def initialized(answer: bytes) -> Initialized:
    """What the answer to an initialize says; defaults where it does not follow the schema."""
    try:
        return jsonrpc.decode(answer, _Answer).result
    except msgspec.DecodeError:
        return Initialized()


def discovered(server: Initialized) -> bytes:
    """The result of server/discover for this server, raw JSON. It names the modern revision alone: see docs/adr."""
    capabilities = {key: value for key, value in members(server.capabilities).items() if key not in LEGACY_CAPABILITIES}
    result: dict[str, bytes] = {
        "supportedVersions": b"[" + jsonrpc.quoted(jsonrpc.MODERN_VERSION) + b"]",
        "capabilities": joined(capabilities),
    }
    if server.instructions:
        result["instructions"] = bytes(server.instructions)
    return complete(joined(result), "server/discover", bytes(server.server_info))

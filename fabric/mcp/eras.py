"""Which era a server speaks, found out as the specification says, and the error where a client's era does not fit.

(2026-07-28 basic/transports/stdio.mdx, Backward Compatibility: server/discover; any answer that is not a recognised modern one
means legacy.)
"""

from __future__ import annotations

import msgspec

from fabric.mcp import answers, jsonrpc
from fabric.mcp.jsonrpc import Message

LEGACY, MODERN = "legacy", "modern"

MODERN_CODES = frozenset({jsonrpc.HEADER_MISMATCH, jsonrpc.MISSING_CAPABILITY, jsonrpc.UNSUPPORTED_VERSION})


class _Discovered(msgspec.Struct):
    versions: list[str] = msgspec.field(default_factory=list, name="supportedVersions")


class _Answer(msgspec.Struct):
    result: _Discovered | None = None


def judge(answer: Message) -> tuple[str, ...]:
    """The eras of the server that answered the probe so: modern first where it speaks both."""
    if answer.error:
        return (MODERN,) if answers.error_code(answer) in MODERN_CODES else (LEGACY,)
    try:
        found = jsonrpc.decode(answer.frame, _Answer).result
    except msgspec.DecodeError:
        return (LEGACY,)
    if found is None or not found.versions:
        return (LEGACY,)
    return (MODERN, LEGACY) if any(version < jsonrpc.MODERN_VERSION for version in found.versions) else (MODERN,)


def legacy_only(id: bytes, server: str) -> bytes:
    """What a modern request to a legacy server gets: an error no client takes for a modern one, so that it falls back."""
    message = f"{server} speaks only revisions before {jsonrpc.MODERN_VERSION}: begin with initialize"
    return jsonrpc.error_frame(id, jsonrpc.INVALID_REQUEST, message)

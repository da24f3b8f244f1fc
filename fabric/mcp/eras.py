"""Judges which eras a server speaks, from its answer to server/discover. Pure.

(2026-07-28 basic/transports/stdio.mdx, Backward Compatibility: any answer that is not a recognised modern one means legacy.)
"""

from __future__ import annotations

import msgspec

from fabric.mcp import answers, jsonrpc
from fabric.mcp.jsonrpc import Message

LEGACY, MODERN = "legacy", "modern"

MODERN_CODES = frozenset({jsonrpc.HEADER_MISMATCH, jsonrpc.MISSING_CAPABILITY, jsonrpc.UNSUPPORTED_VERSION})
"""The error codes that only a modern server answers with."""


class _Discovered(msgspec.Struct):
    versions: list[str] = msgspec.field(default_factory=list, name="supportedVersions")


class _Answer(msgspec.Struct):
    result: _Discovered | None = None


def judge(answer: Message) -> tuple[str, ...]:
    """The eras of a server with this answer to the probe; modern comes first if it speaks both."""
    if answer.error:
        return (MODERN,) if answers.error_code(answer) in MODERN_CODES else (LEGACY,)
    try:
        result = jsonrpc.decode(answer.frame, _Answer).result
    except msgspec.DecodeError:
        return (LEGACY,)
    if result is None or not result.versions:
        return (LEGACY,)
    return (MODERN, LEGACY) if any(version < jsonrpc.MODERN_VERSION for version in result.versions) else (MODERN,)

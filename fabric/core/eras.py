"""Which era a server speaks, found out as the specification says, and the error where a client's era does not fit.

(2026-07-28 basic/transports/stdio.mdx, Backward Compatibility: server/discover; any answer that is not a recognised modern one
means legacy.)
"""

from __future__ import annotations

from typing import Any

import msgspec

from fabric import jsonrpc
from fabric.jsonrpc import Message

LEGACY, MODERN = "legacy", "modern"

LATEST_LEGACY = "2025-11-25"
"""The newest revision with sessions."""

MODERN_CODES = frozenset({jsonrpc.HEADER_MISMATCH, jsonrpc.MISSING_CAPABILITY, jsonrpc.UNSUPPORTED_VERSION})

COMPLAINT_CHARS = 200
"""How much of a server's own words is shown."""

_CLIENT = {"name": "mcp-transport-fabric", "version": "0"}


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Discovered(msgspec.Struct):
    versions: list[str] = msgspec.field(default_factory=list, name="supportedVersions")


class _Answer(msgspec.Struct):
    result: _Discovered | None = None


def discover_request(id: str) -> bytes:
    """The probe."""
    params = {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": jsonrpc.MODERN_VERSION,
            "io.modelcontextprotocol/clientInfo": _CLIENT,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    }
    return _request(id, "server/discover", params)


def initialize_request(id: str) -> bytes:
    """The legacy handshake, sent only to see whether a server that knows no discovery answers at all."""
    return _request(id, "initialize", {"protocolVersion": LATEST_LEGACY, "capabilities": {}, "clientInfo": _CLIENT})


def ping_request(id: str) -> bytes:
    """The legacy question whether somebody is there, which may be asked before the handshake."""
    return _request(id, "ping", {})


def judge(answer: Message) -> tuple[str, ...]:
    """The eras of the server that answered the probe so: modern first where it speaks both."""
    if answer.error:
        try:
            code = jsonrpc.decode(answer.error, _Error).code
        except msgspec.DecodeError:
            code = 0
        return (MODERN,) if code in MODERN_CODES else (LEGACY,)
    try:
        found = jsonrpc.decode(answer.frame, _Answer).result
    except msgspec.DecodeError:
        return (LEGACY,)
    if found is None or not found.versions:
        return (LEGACY,)
    return (MODERN, LEGACY) if any(version < jsonrpc.MODERN_VERSION for version in found.versions) else (MODERN,)


class _Initialized(msgspec.Struct):
    version: str = msgspec.field(default="", name="protocolVersion")


class _Opened(msgspec.Struct):
    result: _Initialized = msgspec.field(default_factory=_Initialized)


def negotiated(answer: bytes) -> str:
    """The revision that a server's answer to an initialize names; empty where it does not say."""
    try:
        return jsonrpc.decode(answer, _Opened).result.version
    except msgspec.DecodeError:
        return ""


def complaint(answer: Message) -> str:
    """What the error says with which a server answered, for people; empty for nothing."""
    try:
        said = jsonrpc.decode(answer.error, _Error).message
    except msgspec.DecodeError:
        return ""
    return f": {said[:COMPLAINT_CHARS]}" if said else ""


def legacy_only(id: bytes, server: str) -> bytes:
    """What a modern request to a legacy server gets: an error no client takes for a modern one, so that it falls back."""
    message = f"{server} speaks only revisions before {jsonrpc.MODERN_VERSION}: begin with initialize"
    return jsonrpc.error_frame(id, jsonrpc.INVALID_REQUEST, message)


def _request(id: str, method: str, params: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": id, "method": method, "params": params})

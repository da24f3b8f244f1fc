"""The handshake of the revisions with sessions: what an initialize offers, and which revision its answer settles.

(2025-11-25 basic/lifecycle, Version Negotiation.)
"""

from __future__ import annotations

import msgspec

from fabric.mcp.jsonrpc import decode

LATEST_LEGACY = "2025-11-25"
"""The newest revision with sessions."""

_EMPTY_OBJECT = msgspec.Raw(b"{}")


class Offer(msgspec.Struct, frozen=True):
    """The params of an initialize request."""

    version: str = msgspec.field(default="", name="protocolVersion")
    client: msgspec.Raw = msgspec.field(default=_EMPTY_OBJECT, name="clientInfo")
    capabilities: msgspec.Raw = _EMPTY_OBJECT


class _Request(msgspec.Struct):
    params: Offer = Offer()


class _Settled(msgspec.Struct, frozen=True):
    version: str = msgspec.field(default="", name="protocolVersion")


class _Response(msgspec.Struct):
    result: _Settled = _Settled()


def offered(request: bytes) -> Offer:
    """What a client offers; the defaults where its frame does not follow the schema, which is the server's to refuse."""
    try:
        return decode(request, _Request).params
    except msgspec.DecodeError:
        return Offer()


def negotiated(response: bytes) -> str:
    """The revision that a server's answer names; empty where it does not say."""
    try:
        return decode(response, _Response).result.version
    except msgspec.DecodeError:
        return ""

"""Reads the handshake of the revisions with sessions: an initialize's offer, and the negotiated revision. Pure.

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
    """The newest revision that the client supports."""
    client: msgspec.Raw = msgspec.field(default=_EMPTY_OBJECT, name="clientInfo")
    """The client's name and version, raw JSON."""
    capabilities: msgspec.Raw = _EMPTY_OBJECT
    """The client's capabilities, raw JSON."""


class _Request(msgspec.Struct):
    params: Offer = Offer()


class _Result(msgspec.Struct, frozen=True):
    version: str = msgspec.field(default="", name="protocolVersion")


class _Response(msgspec.Struct):
    result: _Result = _Result()


def offered(request: bytes) -> Offer:
    """The offer of an initialize. One that does not follow the schema gives the defaults: the server refuses it."""
    try:
        return decode(request, _Request).params
    except msgspec.DecodeError:
        return Offer()


def negotiated(response: bytes) -> str:
    """The revision that the answer to an initialize names; empty if it names none."""
    try:
        return decode(response, _Response).result.version
    except msgspec.DecodeError:
        return ""

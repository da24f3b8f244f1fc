"""Takes a JSON object apart into its members, and puts members together; each value keeps its bytes. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fabric.mcp.jsonrpc import NestedTooDeeply, decode, quoted

Members = dict[str, msgspec.Raw]
"""The members of one object, raw JSON by key."""


def members(raw: msgspec.Raw | bytes) -> Members:
    """The members of an object; none for anything else, and for nothing. Raises NestedTooDeeply."""
    try:
        return decode(bytes(raw), Members) if raw else {}
    except NestedTooDeeply:
        raise
    except msgspec.DecodeError:
        return {}


def joined(members: Mapping[str, msgspec.Raw | bytes]) -> bytes:
    """The object of these members, in their order."""
    return b"{" + b",".join(quoted(key) + b":" + bytes(value) for key, value in members.items()) + b"}"


def response(id: bytes, result: bytes) -> bytes:
    """A response with this raw id and raw result."""
    return b'{"jsonrpc":"2.0","id":' + id + b',"result":' + result + b"}"


def request(id: bytes, method: str, params: bytes) -> bytes:
    """A request with this raw id and raw params."""
    return b'{"jsonrpc":"2.0","id":' + id + b',"method":' + quoted(method) + b',"params":' + params + b"}"


def notification(method: str, params: bytes) -> bytes:
    """A notification with these raw params."""
    return b'{"jsonrpc":"2.0","method":' + quoted(method) + b',"params":' + params + b"}"

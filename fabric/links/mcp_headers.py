"""Encodes and decodes the Mcp-Name and Mcp-Param headers, in which a modern request repeats its body (2026-07-28). Pure."""

from __future__ import annotations

import base64
import binascii
import re

from fabric.errors import InvalidFrame
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message

NAMED = {"tools/call": False, "prompts/get": False, "resources/read": True}
"""The methods whose `name` (False) or `uri` (True) the Mcp-Name header repeats."""

WRAPPED = b"=?base64?"
"""The beginning of a value in Base64; it ends with `?=`."""

_VISIBLE = re.compile(rb"[\t\x20-\x7e]*")


def encoded(value: str) -> str:
    """An Mcp-Name or Mcp-Param value as a header may hold it: in Base64 unless it is visible ASCII."""
    raw = value.encode()
    if _VISIBLE.fullmatch(raw) and value == value.strip() and not (raw.startswith(WRAPPED) and raw.endswith(b"?=")):
        return value
    return (WRAPPED + base64.b64encode(raw) + b"?=").decode()


def decoded(name: str, value: bytes, message: Message) -> str:
    """An Mcp-Name or Mcp-Param value without its Base64 wrapping. Raises InvalidFrame for a value that is not well formed."""
    try:
        if not _VISIBLE.fullmatch(value):
            raise ValueError("a character outside visible ASCII")
        if not (value.startswith(WRAPPED) and value.endswith(b"?=") and len(value) >= 11):
            return value.decode("ascii")
        text = base64.b64decode(value[9:-2], validate=True)
        if base64.b64encode(text) != value[9:-2]:
            raise ValueError("Base64 that is not canonical")
        return text.decode()
    except (binascii.Error, ValueError) as error:
        reason = f"Header mismatch: {name} header holds {error}"
        raise InvalidFrame(jsonrpc.HEADER_MISMATCH, reason, message.id or b"null") from error

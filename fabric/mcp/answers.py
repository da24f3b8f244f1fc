"""What a response says: whether it is an error, which, and in which words."""

from __future__ import annotations

from typing import Any

import msgspec

from fabric.mcp.jsonrpc import Message, decode

COMPLAINT_CHARS = 200
"""How much of a server's own words is shown."""


class Error(msgspec.Struct, frozen=True):
    """A JSON-RPC error object."""

    code: int = 0
    message: str = ""
    data: Any = None


class _Code(msgspec.Struct, gc=False):
    code: int = 0


class _Result(msgspec.Struct, gc=False):
    failed: bool = msgspec.field(default=False, name="isError")


class _Answer(msgspec.Struct, gc=False):
    error: _Code | None = None
    result: _Result | None = None


class _Advice(msgspec.Struct, gc=False):
    retry_after_ms: int = msgspec.field(default=0, name="retryAfterMs")


class _Advised(msgspec.Struct, gc=False):
    data: _Advice | None = None


def error_code(answer: Message) -> int:
    """The code of the error that a response is; 0 for a result, and for an error without a number."""
    try:
        return decode(answer.error, _Code).code if answer.error else 0
    except msgspec.DecodeError:
        return 0


def retry_after_ms(answer: Message) -> int:
    """After how many milliseconds the error advises to try again; 0 for no advice."""
    try:
        advised = decode(answer.error, _Advised).data
    except msgspec.DecodeError:
        return 0
    return advised.retry_after_ms if advised is not None else 0


def complaint(answer: Message) -> str:
    """The error's own message as the end of a sentence for people; empty where it has none."""
    try:
        message = decode(answer.error, Error).message
    except msgspec.DecodeError:
        return ""
    return f": {message[:COMPLAINT_CHARS]}" if message else ""


def outcome(answer: bytes) -> tuple[str, int]:
    """What a response is: `ok`, `error` with its code, or `tool_error`: a result that says that the tool has failed."""
    if b'"error"' not in answer and b'"isError"' not in answer:
        return "ok", 0
    try:
        found = decode(answer, _Answer)
    except msgspec.DecodeError:
        return "ok", 0  # a shape we do not know is for its client to judge
    if found.error is not None:
        return "error", found.error.code
    return "tool_error" if found.result is not None and found.result.failed else "ok", 0

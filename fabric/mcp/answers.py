"""Reads responses: whether one is an error, the error's code and message, and the outcome. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from fabric.mcp.jsonrpc import Message, decode

COMPLAINT_CHARS = 200
"""How many characters of a server's error message are shown."""


class Error(msgspec.Struct, frozen=True):
    """A JSON-RPC error object (JSON-RPC 2.0, section 5.1)."""

    code: int = 0
    """The error's number."""
    message: str = ""
    """A short description."""
    data: Any = None
    """Details, of a shape that depends on the code."""


class _Code(msgspec.Struct, gc=False):
    code: int = 0


class _Result(msgspec.Struct, gc=False):
    failed: bool = msgspec.field(default=False, name="isError")


class _Answer(msgspec.Struct, gc=False):
    error: _Code | None = None
    result: _Result | None = None


class _Content(msgspec.Struct, gc=False):
    text: str = ""


class _ToolResult(msgspec.Struct, frozen=True):
    content: tuple[_Content, ...] = ()


class _ToolAnswer(msgspec.Struct, gc=False):
    result: _ToolResult = _ToolResult()


class _Advice(msgspec.Struct, gc=False):
    retry_after_ms: int = msgspec.field(default=0, name="retryAfterMs")


class _Advised(msgspec.Struct, gc=False):
    data: _Advice | None = None


def error_code(answer: Message) -> int:
    """The code of an error response; 0 for a result, and for an error without a number."""
    try:
        return decode(answer.error, _Code).code if answer.error else 0
    except msgspec.DecodeError:
        return 0


def retry_after_ms(answer: Message) -> int:
    """The milliseconds after which an error response advises to try again; 0 for no advice."""
    try:
        advised = decode(answer.error, _Advised).data
    except msgspec.DecodeError:
        return 0
    return advised.retry_after_ms if advised is not None else 0


def complaint(answer: Message) -> str:
    """The message of an error response as the end of a sentence for people; empty without one."""
    try:
        message = decode(answer.error, Error).message
    except msgspec.DecodeError:
        return ""
    return f": {message[:COMPLAINT_CHARS]}" if message else ""


def tool_complaint(answer: Message) -> str:
    """The first text of a failed tool's result, or the message of an error, as the end of a sentence for people."""
    if answer.error:
        return complaint(answer)
    try:
        contents = decode(answer.frame, _ToolAnswer).result.content
    except msgspec.DecodeError:
        return ""
    text = next((each.text for each in contents if each.text), "")
    return f": {text[:COMPLAINT_CHARS]}" if text else ""


def outcome(answer: bytes) -> tuple[str, int]:
    """The outcome of a response: `ok`, `error` with its code, or `tool_error` for a result that says that the tool failed."""
    if b'"error"' not in answer and b'"isError"' not in answer:
        return "ok", 0
    try:
        response = decode(answer, _Answer)
    except msgspec.DecodeError:
        return "ok", 0  # the client judges a shape that we do not know
    if response.error is not None:
        return "error", response.error.code
    return "tool_error" if response.result is not None and response.result.failed else "ok", 0

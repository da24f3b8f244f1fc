"""The errors that the fabric itself answers clients with: a reason, a JSON-RPC code outside the reserved range, stable data.

docs/spec/errors.md lists them for users.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from fabric.mcp import answers, jsonrpc
from fabric.mcp.jsonrpc import Message


class Reason(StrEnum):
    """Why the fabric answered instead of a server."""

    NO_WORKER = "no_worker"
    DEADLINE = "deadline"
    OUTCOME_UNKNOWN = "outcome_unknown"
    OVERLOADED = "overloaded"
    TOO_LARGE = "too_large"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    UNAVAILABLE = "unavailable"
    INVALID = "invalid"
    UNKNOWN_SERVER = "unknown_server"
    SESSION_LOST = "session_lost"


CODES = {reason: -31001 - position for position, reason in enumerate(Reason)}
"""The JSON-RPC code of each reason. New reasons are only appended, because clients know the codes."""

_REASONS = {code: reason.value for reason, code in CODES.items()}


class Fault(msgspec.Struct, frozen=True):
    """One error of the fabric."""

    reason: Reason
    """Why the fabric answers instead of the server."""
    message: str
    """The reason in words, for people."""
    retryable: bool = False
    """Whether the client may try again: true only if it is proven that the request was not started."""
    retry_after: float | None = None
    """Seconds to wait before another attempt; None for no advice."""


def fault_frame(id: bytes, fault: Fault, *, server: str = "", exchange: str = "", trace: str = "") -> bytes:
    """The JSON-RPC error response for a fault; `id` is the client's own, raw JSON."""
    data: dict[str, object] = {"reason": fault.reason.value, "retryable": fault.retryable}
    if fault.retry_after is not None:
        data["retryAfterMs"] = int(fault.retry_after * 1000)
    data["server"] = server
    data["exchange"] = exchange
    if trace:
        data["trace"] = trace
    return jsonrpc.error_frame(id, CODES[fault.reason], fault.message, data)


class LostAnswer(Message, kw_only=True):
    """A lost answer: the error that a link gives in its server's place to one request, while the link itself goes on."""

    fault: Fault
    """The error."""
    started: bool
    """Whether the server may have begun the request."""
    again: bool
    """Whether another attempt may succeed."""

    @property
    def server_answered(self) -> bool:
        """Whether the server did answer, and its answer could not be passed on."""
        return self.fault.reason in (Reason.INVALID, Reason.TOO_LARGE)


def lost_answer(id: bytes, fault: Fault, *, started: bool, again: bool) -> LostAnswer:
    """The lost answer to the request of this raw id."""
    frame = fault_frame(id, fault)
    seen = jsonrpc.parse(frame)
    return LostAnswer(frame, seen.kind, id, "", seen.params, seen.error, fault=fault, started=started, again=again)


def failure(answer: bytes) -> str:
    """The outcome of an error response: a fault's reason, or `error` for any other error."""
    return _REASONS.get(answers.outcome(answer)[1], "error")


def outcome(answer: bytes) -> tuple[str, int]:
    """The outcome of a response (`ok`, a fault's reason, `error`, or `tool_error` for a result that says so) and its code."""
    kind, code = answers.outcome(answer)
    return (_REASONS.get(code, kind), code) if code else (kind, code)

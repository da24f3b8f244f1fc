"""The errors the fabric itself gives to a client: a reason, a JSON-RPC code outside the reserved range, stable data.

docs/spec/errors.md is their list for users.
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
"""JSON-RPC code of each reason. Only ever appended to: clients know them."""

_REASONS = {code: reason.value for reason, code in CODES.items()}


class Fault(msgspec.Struct, frozen=True):
    """One error of the fabric. retryable: only with proof of no start. retry_after: seconds, None for no advice."""

    reason: Reason
    message: str
    retryable: bool = False
    retry_after: float | None = None


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


class Lost(Message, kw_only=True):
    """What a link answers in its server's place, to a request that it could not carry; the link itself goes on.

    started: whether the server may have begun the request. again: whether another attempt may fare better.
    """

    fault: Fault
    started: bool
    again: bool

    @property
    def spoke(self) -> bool:
        """Whether the server did say something, which could not be passed on."""
        return self.fault.reason in (Reason.INVALID, Reason.TOO_LARGE)


def lost(id: bytes, fault: Fault, *, started: bool, again: bool) -> Lost:
    """That answer, to the request of this raw id."""
    frame = fault_frame(id, fault)
    seen = jsonrpc.parse(frame)
    return Lost(frame, seen.kind, id, "", seen.params, seen.error, fault=fault, started=started, again=again)


def outcome(answer: bytes) -> tuple[str, int]:
    """The outcome that a response is, and its error's code: `ok`, a fault's reason, `error`, or `tool_error` in a result."""
    found, code = answers.outcome(answer)
    return (_REASONS.get(code, found), code) if code else (found, code)

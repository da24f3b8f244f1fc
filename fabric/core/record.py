"""What happened, for spans and metrics to be made of: the record of one exchange on one side, and attempts to connect."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from fabric import jsonrpc
from fabric.core.faults import CODES


class Side(StrEnum):
    """Who recorded."""

    EDGE = "edge"
    BRIDGE = "bridge"


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Whose request it is, as far as its transport says.

    address: the client's own, not that of a proxy before us; no port. scheme, host: what it dialled, in HTTP's words. Each is
    empty where nothing says it.
    """

    address: str = ""
    scheme: str = ""
    host: str = ""


NOBODY = Caller()
"""A caller nothing is known of."""


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one side knows of one exchange when it is over. Times are seconds of the process's monotonic clock, 0.0 for never.

    arrived: the client's frame came (edge), or the envelope (bridge). begun: it was published first (edge), or written to the
    server (bridge). ended: the answer was sent on. sendings: when each attempt was published (edge). sent: when this attempt
    was, by the edge's clock (bridge). queued: it went through the server's queue, else through its owner's inbox. outcome: see
    `judged`, or `cancelled`, or `returned` to the edge. code: of a JSON-RPC error, 0 for none.

    caller: who asked the edge. trace: the traceparent the side continues. span: its own, see core/trace.py; empty when not
    sampled. carried: what the client's transport carried. method, target, version, id (raw JSON) are the request's own words; a
    bridge looks at them only when it traces.
    """

    side: Side
    exchange: str
    server: str
    method: str
    target: str
    transport: str
    session: str
    attempt: int
    arrived: float
    begun: float
    ended: float
    outcome: str
    trace: str
    span: str
    queued: bool
    code: int = 0
    sendings: tuple[float, ...] = ()
    sent: float = 0.0
    caller: Caller = NOBODY
    carried: str = ""
    version: str = ""
    id: bytes = b""


class Attempt(msgspec.Struct, frozen=True):
    """One attempt to connect. peer: `broker` or `server`. name: the broker's scheme, or the server's name. number: from 1 on.

    failure: how it failed, empty if it did not.
    """

    peer: str
    name: str
    number: int
    failure: str = ""


class _Error(msgspec.Struct, gc=False):
    code: int = 0


class _Result(msgspec.Struct, gc=False):
    failed: bool = msgspec.field(default=False, name="isError")


class _Answer(msgspec.Struct, gc=False):
    error: _Error | None = None
    result: _Result | None = None


_REASONS = {code: reason.value for reason, code in CODES.items()}


def judged(answer: bytes) -> tuple[str, int]:
    """The outcome a response is, and its error's code: `ok`, a fault's reason, `error`, or `tool_error` in a result."""
    if b'"error"' not in answer and b'"isError"' not in answer:
        return "ok", 0
    try:
        found = jsonrpc.decode(answer, _Answer)
    except msgspec.DecodeError:
        return "ok", 0  # a shape we do not know is for its client to judge
    if found.error is not None:
        return _REASONS.get(found.error.code, "error"), found.error.code
    return "tool_error" if found.result is not None and found.result.failed else "ok", 0

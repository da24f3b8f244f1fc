"""The records for traces and metrics: of each exchange on each side, and of each attempt to connect.

Spans are made of a record afterwards, so no span is open while a call runs. A context is a W3C traceparent. One is minted for
each exchange at its edge and one for each job at its bridge; other spans have the ids that follow, so nothing more is minted or
kept:

    the client's span > edge > sending n (edge + n) > wait (job + 1) > job > call (job + 2) > the MCP server's own spans

Above it: effects, and fabric/telemetry, which makes spans and figures of it. Below it: `fabric.caller`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from fabric.caller import UNKNOWN_CALLER, Caller

WAIT = 1
"""The number of the span of the broker's part, counted from the job's span."""
CALL = 2
"""The number of the span of the server's part, counted from the job's span."""

_LAST = (1 << 64) - 1


class Side(StrEnum):
    """The side that made a record."""

    EDGE = "edge"
    BRIDGE = "bridge"


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one side knows of one exchange when it is over. Times are seconds of the process's monotonic clock, 0.0 for never.

    A bridge knows method and target only of a request that is traced, and version and id of none.
    """

    side: Side
    exchange: str
    """The id of the exchange."""
    server: str
    method: str
    target: str
    """The tool, prompt or resource that the request names; empty for none."""
    transport: str
    """How the client is connected (edge), or the server (bridge); empty where the bridge has no such server."""
    session: str
    """The legacy session; empty for none."""
    attempt: int
    """How often the exchange was sent (edge), or which sending this bridge had (bridge)."""
    arrived: float
    """When the client's frame came (edge), or the envelope (bridge)."""
    begun: float
    """When it was first published (edge), or written to the server (bridge)."""
    ended: float
    """When the answer was sent on, or the exchange ended without one."""
    outcome: str
    """As `faults.outcome` has it, or `cancelled`, or `returned` to the edge."""
    trace: str
    """The traceparent that this side continues."""
    span: str
    """The traceparent of this side's own span; empty if it is not sampled. See `after`."""
    queued: bool
    """Whether it went through the server's queue; else through its owner's inbox."""
    code: int = 0
    """The code of a JSON-RPC error; 0 for none."""
    sendings: tuple[float, ...] = ()
    """When each attempt was published (edge)."""
    sent: float = 0.0
    """When this attempt was published, by the edge's clock (bridge)."""
    caller: Caller = UNKNOWN_CALLER
    """The client that sent it (edge)."""
    carried: str = ""
    """The traceparent that the client's transport carried (edge)."""
    version: str = ""
    """The protocol revision that the request names (edge)."""
    id: bytes = b""
    """The client's own id of the request, raw JSON (edge)."""


class ConnectAttempt(msgspec.Struct, frozen=True):
    """One attempt to connect."""

    peer: str
    """`broker` or `server`."""
    name: str
    """The scheme of the broker's URL, or the name of the server."""
    number: int
    """Counted from 1."""
    failure: str = ""
    """The kind of its failure; empty if it succeeded."""


def id_after(id: int, number: int) -> int:
    """The span id that comes `number` after `id`."""
    return (id + number) & _LAST


def after(span: str, number: int) -> str:
    """The context whose span id comes `number` after that of `span`, which was minted and is well-formed."""
    return f"{span[:36]}{id_after(int(span[36:52], 16), number):016x}{span[52:]}"


def trace_id(span: str) -> str:
    """The id, in hex, of the trace that a minted context belongs to; empty for none."""
    return span[3:35]

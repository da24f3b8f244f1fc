"""What the cores leave for traces and metrics: a record of each exchange on each side, and of each attempt to connect.

Spans are made of a record afterwards, so no span is open while a call runs. A context is a W3C traceparent. One is minted for
an exchange at its edge and one for each job at its bridge; the ids of their other spans are the next ones, so nothing more is
minted or kept:

    the client's span > edge > sending n (edge + n) > wait (job + 1) > job > call (job + 2) > the MCP server's own spans

Above it: effects, and fabric/telemetry, which makes spans and figures of it. Below it: `fabric.caller`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from fabric.caller import UNKNOWN_CALLER, Caller

WAIT = 1
"""The span of the broker's part, counted from the job's."""
CALL = 2
"""The span of the server's part, counted from the job's."""

_LAST = (1 << 64) - 1


class Side(StrEnum):
    """Who recorded."""

    EDGE = "edge"
    BRIDGE = "bridge"


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one side knows of one exchange when it is over. Times are seconds of the process's monotonic clock, 0.0 for never.

    arrived: the client's frame came (edge), or the envelope (bridge). begun: it was published first (edge), or written to the
    server (bridge). ended: the answer was sent on. sendings: when each attempt was published (edge). sent: when this attempt
    was, by the edge's clock (bridge). queued: it went through the server's queue, else through its owner's inbox. outcome: see
    `faults.outcome`, or `cancelled`, or `returned` to the edge. code: of a JSON-RPC error, 0 for none.

    caller: who asked the edge. trace: the traceparent the side continues. span: its own, see `after`; empty when not
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
    caller: Caller = UNKNOWN_CALLER
    carried: str = ""
    version: str = ""
    id: bytes = b""


class ConnectAttempt(msgspec.Struct, frozen=True):
    """One attempt to connect. peer: `broker` or `server`. name: the broker's scheme, or the server's name. number: from 1 on.

    failure: how it failed, empty if it did not.
    """

    peer: str
    name: str
    number: int
    failure: str = ""


def id_after(id: int, number: int) -> int:
    """The span id that comes `number` after `id`."""
    return (id + number) & _LAST


def after(span: str, number: int) -> str:
    """The context whose span id comes `number` after that of `span`, which was minted and is well-formed."""
    return f"{span[:36]}{id_after(int(span[36:52], 16), number):016x}{span[52:]}"

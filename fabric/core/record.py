"""The record of one exchange on one side: timestamps and outcome, taken always; spans and metrics are made of it afterwards."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Side(StrEnum):
    """Who recorded."""

    EDGE = "edge"
    BRIDGE = "bridge"


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one side knows of one exchange when it is over. Times are seconds of the process's monotonic clock, 0.0 for never.

    arrived: the client's frame came (edge), or the envelope (bridge). begun: it was published (edge), or written to the server
    (bridge). ended: the answer was sent on. trace: traceparent the side continued; span: its own, as a traceparent. outcome:
    `ok`, `error` for the server's own error, else a fault's reason, or `cancelled`.
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
    sent_at: float = 0.0

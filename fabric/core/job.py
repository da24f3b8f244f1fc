"""A job: one exchange as the bridge that took it sees it."""

from __future__ import annotations

from fabric.envelope import Envelope, Kind


class Job:
    """State of one exchange at its bridge. It ends with the answer; the lane keeps that until it is acknowledged."""

    __slots__ = (
        "arrived", "attempt", "begun", "body", "bound", "child", "client_id", "delivery", "edge", "events", "exchange",
        "exclusive", "kind", "method", "newest", "principal", "queued", "repeatable", "sent", "server", "session", "siblings", "span",
        "started", "target", "trace",
    )  # fmt: skip

    def __init__(self, edge: str, envelope: Envelope, delivery: int, now: float, *, queued: bool) -> None:
        self.edge = edge
        self.exchange = envelope.exchange
        self.attempt = envelope.attempt
        self.newest = envelope.attempt  # of the sendings that came here while this job was open
        self.kind: Kind = envelope.kind
        self.server = envelope.server
        self.session = envelope.session
        self.client_id = envelope.client_id
        self.principal = envelope.principal
        self.repeatable = envelope.repeatable
        self.exclusive = envelope.exclusive
        self.bound = envelope.bound
        self.body = envelope.body
        self.delivery = delivery  # the broker's copy, 0 for none
        self.queued = queued  # from a work queue: it holds a slot
        self.siblings: dict[str, Job] | None = None  # the open jobs of its session, which it is one of
        self.child = ""
        self.started = False
        self.events = 0  # messages numbered so far in its resumable stream
        self.trace = envelope.trace
        self.span = ""
        self.method = self.target = ""  # looked at only where spans are made
        self.sent = envelope.sent
        self.arrived = now
        self.begun = 0.0

"""A job: the state of one exchange at the bridge that took it.

Jobs (jobs.py) opens, changes and ends jobs. Session (sessions/session.py) changes the fields that bind a job to a legacy
session: `edge`, `siblings` and `stream`.
"""

from __future__ import annotations

import msgspec

from fabric.core.bridge.stream import Stream
from fabric.envelope import Envelope, Kind


class Job(msgspec.Struct, eq=False):
    """State of one exchange at its bridge. It ends with the answer, which the lane keeps until it is acknowledged."""

    edge: str
    """The edge that gets the answer; empty once that edge is lost, after which only the stream can get it."""
    exchange: str
    """The edge's id of the exchange, and the request's id towards the server."""
    arrived: float
    """When the work came here."""
    kind: Kind
    """REQUEST, or OPEN for an initialize."""
    attempt: int
    """Which sending of the exchange this bridge has taken."""
    newest: int
    """The newest sending of the exchange that came here while the job was open."""
    server: str
    """The server that is to run it."""
    session: str
    """The legacy session that the request belongs to; empty for a modern request and for an initialize."""
    client_id: bytes
    """The client's own id of a session's request, raw JSON."""
    token: bytes
    """The client's own progress token of a session's request, raw JSON."""
    principal: str
    """Who calls."""
    repeatable: bool
    """Whether it may be run again elsewhere."""
    exclusive: bool
    """Whether it gets the log messages of its server, which name no request."""
    bound: bool
    """Whether the session that it opens ends with one long link."""
    answer_only: bool
    """Whether its client takes no message before the answer."""
    body: bytes
    """The request; empty once it has been written to a process."""
    trace: str
    """Its traceparent; empty if it is not traced."""
    sent: float
    """When the edge sent it, by the edge's clock, in unix seconds; only if it is traced."""
    delivery: int = 0
    """The number of the broker's delivery; 0 for none."""
    queued: bool = False
    """Whether it came from a work queue, so that it holds a slot of its server."""
    siblings: dict[str, Job] | None = None
    """The open jobs of its session, with this one; None if it belongs to no session."""
    child: str = ""
    """The process that it was given to, in which it may still wait for its turn."""
    started: bool = False
    """Whether the request was written to the process."""
    begun: float = 0.0
    """When that was."""
    stream: Stream | None = None
    """The stream that keeps the messages before the answer; None if its client cannot resume it."""
    span: str = ""
    """The traceparent of the bridge's own span."""
    method: str = ""
    """The request's method; read only if it is traced."""
    target: str = ""
    """The tool, prompt or resource that the request names; read only if it is traced."""


def job_of(edge: str, envelope: Envelope, delivery: int, now: float, *, queued: bool) -> Job:
    """The job of an envelope. delivery: the number of the broker's delivery, 0 for none. queued: it came from a work queue."""
    return Job(
        edge,
        envelope.exchange,
        now,
        envelope.kind,
        envelope.attempt,
        envelope.attempt,
        envelope.server,
        envelope.session,
        envelope.client_id,
        envelope.token,
        envelope.principal,
        envelope.repeatable,
        envelope.exclusive,
        envelope.bound,
        envelope.answer_only,
        envelope.body,
        envelope.trace,
        envelope.sent,
        delivery,
        queued,
    )

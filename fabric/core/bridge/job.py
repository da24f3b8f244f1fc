"""A job: one exchange as the bridge that took it sees it."""

from __future__ import annotations

import msgspec

from fabric.core.bridge.sessions.stream import Stream
from fabric.envelope import Envelope, Kind


class Job(msgspec.Struct, eq=False):
    """State of one exchange at its bridge. It ends with the answer; the lane keeps that until it is acknowledged.

    newest: of the sendings that came here while it was open. delivery: the broker's copy, 0 for none. queued: from a work
    queue, so that it holds a slot. siblings: the open jobs of its session, which it is one of. stream: what is said
    before its answer, where that can be resumed; answer_only: its client takes nothing before the answer. edge: empty once that
    is lost, when only the stream can have its answer. method, target: looked at only where spans are made.
    """

    edge: str
    exchange: str
    arrived: float
    kind: Kind
    attempt: int
    newest: int
    server: str
    session: str
    client_id: bytes
    token: bytes
    principal: str
    repeatable: bool
    exclusive: bool
    bound: bool
    answer_only: bool
    body: bytes
    trace: str
    sent: float
    delivery: int = 0
    queued: bool = False
    siblings: dict[str, Job] | None = None
    child: str = ""
    started: bool = False
    begun: float = 0.0
    stream: Stream | None = None
    span: str = ""
    method: str = ""
    target: str = ""


def job_of(edge: str, envelope: Envelope, delivery: int, now: float, *, queued: bool) -> Job:
    """The job that an envelope asks for."""
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

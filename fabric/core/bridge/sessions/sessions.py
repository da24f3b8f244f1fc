"""The legacy sessions that a bridge owns: opened by an initialize, used through any edge, each message sent on its stream."""

from __future__ import annotations

from typing import Any

from fabric.core.bridge.job import Job, job_of
from fabric.core.bridge.jobs import Jobs
from fabric.core.bridge.processes.child import Child
from fabric.core.bridge.processes.pool import Pool
from fabric.core.bridge.processes.registry import ProcessRegistry
from fabric.core.bridge.sessions.eviction import Eviction
from fabric.core.bridge.sessions.holds import Holds
from fabric.core.bridge.sessions.session import Session
from fabric.core.bridge.speaking.base import Answer, Output, ServerMessage
from fabric.core.bridge.speaking.legacy import CANCELLED
from fabric.core.bridge.stream import LONGEST_NAMES, Stream
from fabric.core.peers.member import Member
from fabric.envelope import Envelope, Kind, Lane
from fabric.faults import Fault, Reason, fault_frame
from fabric.mcp import jsonrpc, swap
from fabric.mcp.jsonrpc import Message

PROGRESS = "notifications/progress"
PRIMED_AFTER = 0.5
"""Seconds after which a request that has not been answered becomes resumable, even if its server has sent no message."""
SESSION_OVER = "this session has ended; begin a new one"


class Sessions:
    """Every legacy session of one bridge. idle: seconds without a message after which a session over HTTP ends."""

    def __init__(self, member: Member, pools: dict[str, Pool], processes: ProcessRegistry, jobs: Jobs, idle: float) -> None:
        self.open: dict[str, Session] = {}
        """The sessions, by id, which is the exchange of their initialize."""
        self.holds = Holds(member, processes)
        self._member = member
        self._pools = pools
        self._processes = processes
        self._jobs = jobs
        self._idle = idle
        self._eviction = Eviction(idle)

    def amounts(self) -> dict[str, Any]:
        """See BridgeSnapshot."""
        sessions = self.open.values()
        streams = [stream for session in sessions for stream in session.streams.values()]
        return {
            "sessions": len(sessions),
            "streams": len(streams),
            "kept_messages": sum(each.kept_messages for each in (*streams, *(session.own for session in sessions))),
            "session_requests": sum(len(session.jobs) for session in sessions),
            "session_holds": sum(len(session.holds) for session in sessions),
            "crowded_sessions": sum(map(len, self.holds.crowding.values())),
            "openings": self._eviction.waiting_count,
        }

    def begin(self, job: Job, pool: Pool, now: float) -> None:
        """Give an initialize to a process of its own; this bridge owns the session from now on."""
        self.make_room(pool, job.exchange, now)
        child = pool.for_session(job.exchange, now)
        if child is None:
            self._jobs.give_back(job, "", now)
            return
        self._eviction.begun(job.server, job.exchange)
        self.open[job.exchange] = Session(job.exchange, job.server, child.id, job, now)
        self._jobs.run(job, child, now)
        if job.exchange not in self._jobs.open:  # it was refused
            self.end(self.open[job.exchange], now)
        pool.refill(now)

    def opened(self, job: Job, answer: bytes, now: float, *, failed: bool) -> None:
        """The initialize was answered. failed: with an error, so that there is no session."""
        session = self.open.get(job.exchange)
        if session is None:
            return
        session.opened(answer)
        self._jobs.answer(job, answer, now, session="" if failed else session.id, failed=failed)
        if failed:
            self.end(session, now)

    # ------------------------------------------------------------ what clients send
    def request(self, job: Job, now: float) -> None:
        """Run a request of a session's client, or answer it with an error."""
        session = self.open.get(job.session)
        if session is None:
            self._jobs.fault(job, Fault(Reason.SESSION_LOST, SESSION_OVER, retryable=True), now)
            return
        session.used = now
        child = self._processes.by_id[session.child]
        if child.unread and self._overloaded(session):
            self._jobs.fault(job, _too_much(session.server), now)
            return
        session.join(job)
        self._jobs.add(job)
        self._jobs.run(job, child, now)

    def frame(self, peer: str, envelope: Envelope, now: float) -> bool:
        """Take a notification or a response of a session's client. Returns False for a cancel of a request that is not here."""
        session = self.open.get(envelope.session)
        if session is None:
            if envelope.exchange:
                self._unknown(peer, envelope, now)
            return True
        session.used = now
        if envelope.exchange and envelope.lane is Lane.DATA and self._overloaded(session):
            self._jobs.fault(job_of(peer, envelope, 0, now, queued=False), _too_much(session.server), now)
            return True
        message = jsonrpc.parse(envelope.body)
        handled = True
        if message.method == CANCELLED:
            handled = self._cancel_named(session, message, now)
        else:
            child = self._processes.by_id[session.child]
            self._carry_out(session, child, child.speaker.tell(message), now)
        if envelope.exchange:
            self._member.data(peer, now, Envelope(kind=Kind.WRITTEN, exchange=envelope.exchange))
        return handled

    def _carry_out(self, session: Session, child: Child, outputs: tuple[Output, ...], now: float) -> None:
        for output in outputs:
            if isinstance(output, bytes):
                self._processes.tell(child, output)
            elif isinstance(output, Answer):
                self._jobs.answer(output.job, output.frame, now, failed=output.refused)
            else:
                self.message(session, output, now)

    def _cancel_named(self, session: Session, message: Message, now: float) -> bool:
        """A client cancels a request of its session: end its stream, wherever the client reads it."""
        job = session.newest(jsonrpc.refers_to(message))
        if job is None:
            return False
        if job.edge:
            self._member.data(job.edge, now, Envelope(kind=Kind.ENDED, exchange=job.exchange))
        stream = session.streams.pop(job.exchange, None)
        if stream is not None:
            stream.close(self._member, now)
        for output in self._jobs.cancel(job, swap.with_reference(message.frame, jsonrpc.quoted(job.exchange)), now):
            self.message(session, output, now)
        return True

    def cancel(self, job: Job, frame: bytes, now: float) -> None:
        """An edge has given a job up, and a session that the job was to open ends. frame: its client's own cancel, or empty."""
        opening = self.open.get(job.exchange) if job.kind is Kind.OPEN and job.started else None
        outputs = self._jobs.cancel(job, frame, now)
        session = self.open.get(job.session)
        if session is not None:
            for output in outputs:
                self.message(session, output, now)
        if opening is not None:
            self.end(opening, now)

    def late(self, job: Job, now: float) -> None:
        """The edge that owns the deadline has given a job up. A client at another edge gets the error on its stream."""
        if job.stream is not None:
            reason = Reason.DEADLINE if job.repeatable else Reason.OUTCOME_UNKNOWN
            fault = Fault(reason, f"{job.server} did not answer in time")
            frame = fault_frame(jsonrpc.quoted(job.exchange), fault, server=job.server, exchange=job.exchange)
            job.stream.answer(self._member, frame, now)

    def attach(self, peer: str, envelope: Envelope, now: float) -> None:
        """A client reads its session's own stream at this edge, or resumes another stream there."""
        session = self.open.get(envelope.session)
        if session is None:
            self._unknown(peer, envelope, now)
            return
        session.used = now
        stream = session.named(envelope.body.decode(errors="replace"))
        if stream is None:
            text = "nothing is kept of the stream that this Last-Event-ID names, or it is no stream of this session"
            self._jobs.fault(job_of(peer, envelope, 0, now, queued=False), Fault(Reason.INVALID, text), now)
            return
        stream.attach(self._member, peer, envelope.exchange, envelope.event, now, primes=session.primes)

    def detach(self, peer: str, envelope: Envelope) -> None:
        """The client that read a stream at this edge is gone."""
        session = self.open.get(envelope.session)
        if session is not None:
            session.left(peer, envelope.exchange)

    def _unknown(self, peer: str, envelope: Envelope, now: float) -> None:
        job = job_of(peer, envelope, 0, now, queued=False)
        self._jobs.fault(job, Fault(Reason.SESSION_LOST, SESSION_OVER, retryable=True), now)

    # ------------------------------------------------------------ what servers send
    def message(self, session: Session, output: ServerMessage, now: float) -> None:
        """Send a request or notification of the session's server to its client."""
        frame, progress = output.frame, output.message.method == PROGRESS
        if output.job is not None and output.job.exchange not in self._jobs.open:
            return  # another question of its call has ended the call
        if output.job is not None and len(frame) + LONGEST_NAMES > self._member.largest_body_bytes:
            text = f"{session.server} asks for input in {len(frame)} bytes, which is more than passes this broker"
            child = self._processes.by_id[session.child]
            self._carry_out(session, child, child.speaker.cancel(output.job, b"", now), now)
            self._jobs.fault(output.job, Fault(Reason.TOO_LARGE, text), now)
            return
        own = output.job
        job = own if own is not None and not own.answer_only else session.related(output.message)
        if progress and (job is None or (job.kind is Kind.OPEN and not session.bound)):
            return  # no progress after the response, nor before a session's first message
        session.used = now
        if session.bound:
            edge, exchange = session.edge, job.exchange if job is not None and progress else ""
            self._member.data(edge, now, Envelope(kind=Kind.MESSAGE, exchange=exchange, session=session.id, body=frame))
        elif job is None or job.kind is Kind.OPEN:  # the answer to an initialize has to come first
            edge = session.own.edge
            session.own.send(self._member, frame, now)
        elif (stream := self._stream(session, job, now)) is not None:
            edge = stream.edge
            stream.send(self._member, frame, now)
            if job.edge and stream.exchange != job.exchange:  # its deadline is still kept there
                self._member.data(job.edge, now, Envelope(kind=Kind.MESSAGE, exchange=job.exchange))
        else:
            edge = job.edge
            if edge:
                self._member.data(edge, now, Envelope(kind=Kind.MESSAGE, exchange=job.exchange, body=frame))
        self.holds.posted(session, edge)

    def _stream(self, session: Session, job: Job, now: float) -> Stream | None:
        fresh = job.stream is None
        stream = session.resumable(job)
        if fresh and stream is not None:
            session.trim(now)
            if session.primes:
                stream.open(self._member, now, primes=True)
        return stream

    def look(self, now: float) -> None:
        """The regular look: have Speakers do what they have put off, and make requests resumable that take long.

        The latter if the client's revision allows that. It is noted here which sessions are waited for: a session counts as
        left alone since the last call at which a client waited for it, however old its last message is.
        """
        for session in self.open.values():
            child = self._processes.by_id[session.child]
            self._carry_out(session, child, child.speaker.look(now), now)
            if session.bound:
                continue
            if session.waited_for:
                session.waited_for_at = now
            if session.primes and session.jobs:
                for job in session.jobs.values():
                    if job.stream is None and job.kind is Kind.REQUEST and now - job.begun >= PRIMED_AFTER:
                        self._stream(session, job, now)

    # ------------------------------------------------------------ flow control
    def hold(self, peer: str, envelope: Envelope) -> None:
        """A client reads less than is sent to it on one of its links."""
        session = self.open.get(envelope.session)
        if session is not None:
            self.holds.hold(session, peer, envelope.exchange)

    def release(self, peer: str, envelope: Envelope) -> None:
        """A client has caught up, or its link is gone."""
        session = self.open.get(envelope.session)
        if session is not None:
            self.holds.release(session, peer, envelope.exchange)

    def pace(self, child: Child, now: float) -> None:
        """A process has fallen behind its client, or caught up with it."""
        session = self.open.get(child.session)
        if session is not None:
            self.holds.pace(session, behind=child.behind, now=now)

    def _overloaded(self, session: Session) -> bool:
        """Whether a process leaves so much unread that no more is taken over HTTP; a long link is held instead."""
        limit = self._pools[session.server].limits.unread_bytes
        return not session.bound and self._processes.by_id[session.child].unread > limit

    # ------------------------------------------------------------ ends
    def leave(self, peer: str, envelope: Envelope, now: float) -> None:
        """A session's client, or its edge for it, ends the session. A client over HTTP waits for the confirmation."""
        session = self.open.get(envelope.session)
        if session is None:
            if envelope.exchange:
                self._unknown(peer, envelope, now)
            return
        self.end(session, now)
        if envelope.exchange:
            self._member.data(peer, now, Envelope(kind=Kind.WRITTEN, exchange=envelope.exchange))

    def end(self, session: Session, now: float) -> None:
        """End a session: answer its open requests, and stop its process."""
        self.open.pop(session.id, None)
        child = self._processes.by_id.get(session.child)
        if child is not None:
            for job in list(child.jobs.values()):
                self._jobs.orphaned(job, "its session was ended", now)
            self._pools[session.server].stop(child)
        session.own.close(self._member, now)

    def exited(self, child: Child, reason: str, now: float) -> None:
        """The session's process has ended by itself; its jobs have been answered."""
        session = self.open.pop(child.session, None)
        if session is None:
            return
        if session.bound:
            self._member.data(session.edge, now, Envelope(kind=Kind.ENDED, session=session.id, body=reason.encode()))
        session.own.close(self._member, now)

    def lost(self, edge: str, now: float) -> None:
        """An edge is gone: sessions that are bound to its links end, the others wait until their clients come back."""
        for session in [session for session in self.open.values() if session.bound and session.edge == edge]:
            for job in list(session.jobs.values()):
                self._jobs.drop(job, "cancelled", now)  # nobody waits for its answer
            self.end(session, now)
        self.holds.lost(edge, self.open.values())
        for session in self.open.values():
            session.left(edge)
            for job in [job for job in session.jobs.values() if job.edge == edge]:
                session.used = now
                session.unwatched(job)

    def giving_way(self, pool: Pool, work: str, now: float) -> Session | None:
        """The session to evict for new work on a full server; if there is none yet, a parked call may make room.

        work: the exchange of the work.
        """
        evicted = self._eviction.next(self.open.values(), pool, work, now)
        if evicted is None:
            pool.initialized.make_room(now)
        return evicted

    def make_room(self, pool: Pool, work: str, now: float) -> None:
        """End the session that gives way to new work, if the server is full. work: its exchange."""
        if pool.full and (evicted := self.giving_way(pool, work, now)) is not None:
            self._eviction.begun(pool.name, work)
            self.end(evicted, now)

    def sweep(self, now: float) -> None:
        """End HTTP sessions that were left alone for too long, and requests without an edge in sessions without messages."""
        for session in list(self.open.values()):
            session.trim(now)
            if not session.bound and now - session.used > self._idle:
                child = self._processes.by_id[session.child]
                for job in [job for job in child.jobs.values() if not job.edge]:
                    self.late(job, now)
                    self._jobs.cancel(job, b"", now)
        for pool in self._pools.values():
            for session in self._eviction.due(self.open.values(), pool, now):
                self.end(session, now)


def _too_much(server: str) -> Fault:
    text = f"this session's process of {server} has not read what was sent to it before; send this again later"
    return Fault(Reason.OVERLOADED, text, retryable=True, retry_after=1.0)

"""The legacy sessions a bridge owns: opened by an initialize, fed by any edge, each message on the stream it belongs to."""

from __future__ import annotations

from collections.abc import Callable

from fabric import jsonrpc
from fabric.core.faults import CODES, Fault, Reason
from fabric.core.job import Job, job_of
from fabric.core.jobs import Jobs
from fabric.core.member import Member
from fabric.core.pool import Child, Pool
from fabric.core.session import Session, Stream
from fabric.envelope import Envelope, Kind
from fabric.jsonrpc import Message, MessageKind

PROGRESS = "notifications/progress"
EVICT_AFTER = 10.0
"""Seconds an HTTP session has to be left alone before a new one may take its place."""
MINTED_BYTES = 32
"""By how much a minted id may lengthen a frame, rounded up."""
ENDED = "this session has ended; begin a new one"


class Sessions:
    """Every session of one bridge, by id. `defer(peer, envelope)` keeps a cancel that came before what it cancels."""

    def __init__(
        self, member: Member, pools: dict[str, Pool], jobs: Jobs, idle: float, defer: Callable[[str, Envelope], None]
    ) -> None:
        self.open: dict[str, Session] = {}
        self._member = member
        self._pools = pools
        self._jobs = jobs
        self._idle = idle
        self._defer = defer

    def begin(self, job: Job, child: Child, now: float) -> None:
        """An initialize was given to a process: the session is this bridge's."""
        self.open[job.exchange] = Session(job.exchange, job.server, child.id, job, now)

    def opened(self, job: Job, answer: Message, now: float) -> None:
        """The initialize was answered: with an error, there is no session."""
        session = self.open.get(job.exchange)
        if session is None:
            return
        self._jobs.answer(job, answer.frame, now, session="" if answer.error else session.id)
        if answer.error:
            self.end(session, now)

    # ------------------------------------------------------------ what clients say
    def request(self, job: Job, now: float) -> None:
        """A request of a session's client."""
        session = self.open.get(job.session)
        if session is None:
            self._jobs.fault(job, Fault(Reason.SESSION_LOST, ENDED, retryable=True), now)
            return
        pool = self._pools[session.server]
        session.used = now
        session.join(job)
        self._jobs.add(job)
        self._jobs.write(job, pool.children[session.child], pool, now)

    def frame(self, peer: str, envelope: Envelope, now: float) -> None:
        """A notification or a response of a session's client."""
        session = self.open.get(envelope.session)
        if session is None:
            if envelope.exchange:
                self._unknown(peer, envelope, now)
            return
        session.used = now
        message = jsonrpc.parse(envelope.body)
        frame = message.frame
        if message.kind is MessageKind.RESPONSE:
            frame = session.to_server(message)
        elif message.method == "notifications/cancelled":
            frame = b""
            job = session.newest(jsonrpc.refers_to(message))
            if job is None:
                self._defer(peer, envelope)
            else:
                self._member.data(job.edge, now, Envelope(kind=Kind.ENDED, exchange=job.exchange))
                self._jobs.cancel(job, jsonrpc.with_reference(message.frame, jsonrpc.quoted(job.exchange)), now)
        if frame:
            pool = self._pools[session.server]
            pool.write(pool.children[session.child], frame)
        if envelope.exchange:
            self._member.data(peer, now, Envelope(kind=Kind.WRITTEN, exchange=envelope.exchange))

    def attach(self, peer: str, envelope: Envelope, now: float) -> None:
        """A client opened its session's own stream, through this edge."""
        session = self.open.get(envelope.session)
        if session is None:
            self._unknown(peer, envelope, now)
            return
        if session.stream is not None:  # each message goes to one stream, and the newest is the one its client reads
            self._member.data(session.stream.edge, now, Envelope(kind=Kind.ENDED, exchange=session.stream.exchange))
        session.stream = Stream(peer, envelope.exchange)
        session.used = now
        self._on_stream(session, b"", now)
        while session.buffer:
            self._on_stream(session, session.buffer.popleft(), now)

    def detach(self, envelope: Envelope) -> None:
        """That stream's client is gone."""
        session = self.open.get(envelope.session)
        if session is not None and session.stream is not None and session.stream.exchange == envelope.exchange:
            session.stream = None

    def _unknown(self, peer: str, envelope: Envelope, now: float) -> None:
        job = job_of(peer, envelope, 0, now, queued=False)
        self._jobs.fault(job, Fault(Reason.SESSION_LOST, ENDED, retryable=True), now)

    # ------------------------------------------------------------ what servers say
    def said(self, session: Session, message: Message, now: float) -> None:
        """A request or notification of the session's server."""
        progress = message.method == PROGRESS
        job = session.related(message)
        if job is None and progress:
            return  # none after its response
        if len(message.frame) + MINTED_BYTES > self._member.largest_body_bytes:
            if message.id:
                text = f"a request of {len(message.frame)} bytes is more than passes this broker"
                pool = self._pools[session.server]
                pool.write(pool.children[session.child], jsonrpc.error_frame(message.id, CODES[Reason.TOO_LARGE], text))
            return
        frame = session.to_client(message)
        session.used = now
        if session.bound:
            exchange = job.exchange if job is not None and progress else ""
            self._member.data(session.edge, now, Envelope(kind=Kind.MESSAGE, exchange=exchange, session=session.id, body=frame))
        elif job is not None:
            if not job.events:
                self._member.data(
                    job.edge, now, Envelope(kind=Kind.MESSAGE, exchange=job.exchange, event=0)
                )  # primes the client to resume
            job.events += 1
            self._member.data(job.edge, now, Envelope(kind=Kind.MESSAGE, exchange=job.exchange, event=job.events, body=frame))
        elif session.stream is not None:
            self._on_stream(session, frame, now)
        else:
            session.buffer.append(frame)

    def _on_stream(self, session: Session, frame: bytes, now: float) -> None:
        stream = session.stream
        if stream is not None:
            self._member.data(
                stream.edge, now, Envelope(kind=Kind.MESSAGE, exchange=stream.exchange, event=session.events, body=frame)
            )
            session.events += 1

    # ------------------------------------------------------------ ends
    def end(self, session: Session, now: float) -> None:
        """The session is over: what is open in it is answered, and its process stops."""
        self.open.pop(session.id, None)
        pool = self._pools[session.server]
        child = pool.children.get(session.child)
        if child is not None:
            for job in list(child.jobs.values()):
                self._jobs.orphaned(job, "its session was ended", now)
            pool.stop(child)
        if session.stream is not None:
            self._member.data(session.stream.edge, now, Envelope(kind=Kind.ENDED, exchange=session.stream.exchange))

    def exited(self, child: Child, reason: str, now: float) -> None:
        """The session's process has ended by itself; its jobs have been answered."""
        session = self.open.pop(child.session, None)
        if session is None:
            return
        if session.bound:
            self._member.data(session.edge, now, Envelope(kind=Kind.ENDED, session=session.id, body=reason.encode()))
        elif session.stream is not None:
            self._member.data(session.stream.edge, now, Envelope(kind=Kind.ENDED, exchange=session.stream.exchange))

    def lost(self, edge: str, now: float) -> None:
        """An edge is gone: sessions bound to its links end, the others wait for their client to come back."""
        for session in [session for session in self.open.values() if session.bound and session.edge == edge]:
            for job in list(session.jobs.values()):
                self._jobs.drop(job, now)  # nobody waits for its answer
            self.end(session, now)
        for session in self.open.values():
            if session.stream is not None and session.stream.edge == edge:
                session.stream = None
            for job in [job for job in session.jobs.values() if job.edge == edge]:
                del session.jobs[job.exchange]  # it runs on, but nothing more can be said on its stream
                job.siblings = None

    def left_alone(self, pool: Pool, now: float) -> Session | None:
        """The HTTP session that was left alone longest, and long enough to give way to a new one on a full server."""
        left = [
            session
            for session in self.open.values()
            if session.server == pool.name and not session.bound and not session.jobs and session.stream is None
        ]
        oldest = min(left, key=lambda session: session.used, default=None)
        return oldest if oldest is not None and now - oldest.used >= EVICT_AFTER else None

    def sweep(self, now: float) -> None:
        """End the HTTP sessions nobody has used for too long."""
        for session in list(self.open.values()):
            if not session.bound and not session.jobs and session.stream is None and now - session.used > self._idle:
                self.end(session, now)

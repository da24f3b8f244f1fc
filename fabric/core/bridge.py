"""The bridge core: takes work, gives it to MCP servers when it may, and sends back what they say.

It owns legacy sessions and jobs. Edges own links and deadlines; who may run what is theirs to grant.
"""

from __future__ import annotations

from collections import deque

import msgspec

from fabric import jsonrpc
from fabric.core import eras, parked
from fabric.core.announcement import Announcement, Health, Role
from fabric.core.deadlines import Deadlines
from fabric.core.effects import Ack, Completed, Conflict, Effect, Nack
from fabric.core.events import (
    BrokerConnected,
    BrokerLost,
    DrainStarted,
    Event,
    PackArrived,
    PublishFailed,
    ServerExited,
    ServerFrame,
    ServerStarted,
    WorkArrived,
)
from fabric.core.faults import Fault, Reason, fault_frame
from fabric.core.job import Job
from fabric.core.member import Identity, Member, announcing
from fabric.core.pool import Child, Pool, ServerLimits
from fabric.core.record import Record, Side
from fabric.core.session import Session, Stream
from fabric.envelope import Envelope, Kind, Lane
from fabric.jsonrpc import Message, MessageKind

TAKEN_AFTER = 0.05
"""Seconds after which a `taken` of its own is owed for repeatable work that has not been answered."""
SESSION_IDLE = 1800.0
"""Seconds without a message after which an HTTP session ends, unless told otherwise."""
SWEEP = 5.0
"""Seconds between two looks for idle sessions."""


class BridgeCore:
    """One bridge's decisions. `handle` and `expire` return effects; lane messages gather until `transmit`."""

    def __init__(self, identity: Identity, servers: dict[str, ServerLimits], session_idle: float = SESSION_IDLE) -> None:
        self._out: list[Effect] = []
        self.member = Member(identity, self, self._out)
        self.deadlines = Deadlines()
        self.pools = {name: Pool(name, limits, self.deadlines, self._out) for name, limits in servers.items()}
        self.jobs: dict[str, Job] = {}
        self.sessions: dict[str, Session] = {}
        self.draining = False
        self._children: dict[str, Pool] = {}  # which pool a process is of
        self._unacked: dict[str, deque[tuple[Lane, int, int]]] = {}  # broker's copies, until the edge has acknowledged
        self._deferred: dict[str, list[Envelope]] = {}  # cancels that overtook what they cancel
        self._session_idle = session_idle
        self._next_sweep = 0.0
        self._begun = False

    # ------------------------------------------------------------ what the runtime calls
    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one event."""
        match event:
            case PackArrived(pack):
                for envelope in self.member.receive(pack, now):
                    self._envelope(pack.source, envelope, now)
                if self._unacked or self._deferred:
                    self._advanced(pack.source, now)
            case ServerFrame(child, message):
                self._server_said(child, message, now)
            case WorkArrived(source, envelope, delivery):
                self._work(source, envelope, delivery, now)
            case ServerStarted(child):
                found = self._find(child)
                if found is not None:
                    found[0].started(found[1], now)
            case ServerExited(child, reason):
                self._exited(child, reason, now)
            case PublishFailed():
                pass  # lanes send again by themselves, announcements come each second
            case BrokerConnected(keeps, largest_message_bytes):
                self._begin(now)
                self.member.connected(keeps, largest_message_bytes, now)
            case BrokerLost():
                self.member.disconnected()
            case DrainStarted():
                self.draining = True
                self._serve(now)
                self.member.announce(now)
            case _:
                raise TypeError(f"not an event of a bridge: {type(event).__name__}")
        return self._take()

    def expire(self, now: float) -> list[Effect]:
        """Act on every deadline that has come by `now`."""
        if now >= self.member.next_beat:
            self.member.beat(now)
            self._check_conflict(now)
            self._serve(now)
            if now >= self._next_sweep:
                self._next_sweep = now + SWEEP
                self._sweep(now)
        for key in self.deadlines.expired(now):
            what, _, name = key.partition(" ")
            if what == "taken":
                self._say_taken(self.jobs[name], now)
            elif what == "probe":
                self.pools[name].silent(now)
                self._changed(self.pools[name], now)
            else:
                self._restart(self.pools[name], now)
        return self._take()

    def next_deadline(self) -> float:
        """When `expire` is to be called at the latest."""
        due = self.deadlines.next()
        return self.member.next_beat if due is None else min(due, self.member.next_beat)

    def transmit(self) -> list[Effect]:
        """What waits in the lanes, packed."""
        return list(self.member.pairs.transmit()) if self.member.pairs.waiting else []

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye to everyone and stop every server; what is open ends at the edges as if this process had died."""
        for pool in self.pools.values():
            for child in list(pool.children.values()):
                pool.stop(child)
        self.member.leave()
        return self._take()

    @property
    def idle(self) -> bool:
        """No job is open, and every answer has been acknowledged."""
        return not self.jobs and all(pair.idle for pair in self.member.pairs)

    def _take(self) -> list[Effect]:
        effects = self._out.copy()
        self._out.clear()
        return effects

    def _begin(self, now: float) -> None:
        if not self._begun:
            self._begun = True
            for pool in self.pools.values():
                pool.start(now)
                self._index(pool)

    # ------------------------------------------------------------ what a member asks of its owner
    def describe(self, number: int) -> Announcement:
        """This bridge's announcement now."""
        said = announcing(self.member.identity, Role.BRIDGE, number)
        serves = {name: pool.describe(not self.draining) for name, pool in self.pools.items()}
        return msgspec.structs.replace(said, sessions=len(self.sessions), serves=serves)

    def lost(self, peer: str, now: float, *, gone: bool) -> None:
        """An edge is given up or gave us up: its jobs and the sessions bound to its links end, its HTTP sessions wait."""
        for _, _, delivery in self._unacked.pop(peer, ()):
            self._out.append(Ack(delivery) if gone else Nack(delivery))
        self._deferred.pop(peer, None)
        for session in [session for session in self.sessions.values() if session.bound and session.edge == peer]:
            self._end_session(session)
        for session in self.sessions.values():
            if session.stream is not None and session.stream.edge == peer:
                session.stream = None
        for job in [job for job in self.jobs.values() if job.edge == peer]:
            if job.delivery:
                self._out.append(Ack(job.delivery) if gone else Nack(job.delivery))
            self._cancel(job, b"", now)

    def recovered(self, now: float) -> None:
        """A gap has ended; the lanes have already sent again what was not acknowledged."""

    def _check_conflict(self, now: float) -> None:
        """While it settles, a process yields to one that already serves a name with another definition."""
        if self.member.leases.settled(now) and self._next_sweep:
            return
        for incarnation, said in self.member.leases.alive(Role.BRIDGE):
            for name, served in said.serves.items():
                pool = self.pools.get(name)
                if pool is not None and pool.limits.digest != served.digest and incarnation != self.member.me:
                    holder = said.host or incarnation
                    self._out.append(Conflict(f"server {name!r} is served by bridge {holder} with another definition"))

    def _serve(self, now: float) -> None:
        """Consume the queues of healthy servers once this process knows who else is there."""
        ready = self.member.leases.settled(now) and not self.draining
        for pool in self.pools.values():
            pool.consume(ready or (pool.consuming and not self.draining))

    def _sweep(self, now: float) -> None:
        for session in [session for session in self.sessions.values() if not session.bound]:
            if not session.jobs and session.stream is None and now - session.used > self._session_idle:
                self._end_session(session)

    # ------------------------------------------------------------ taking work
    def _work(self, source: str, envelope: Envelope, delivery: int, now: float) -> None:
        pool = self.pools.get(envelope.server)
        if pool is None or envelope.exchange in self.jobs:
            if delivery:
                self._out.append(Ack(delivery) if pool else Nack(delivery))
            return
        no_room = pool.taken >= pool.limits.slots or (envelope.kind is Kind.OPEN and pool.full)
        if self.draining or no_room or pool.health is not Health.HEALTHY:
            number = self.member.control(source, now, Kind.RETURNED, envelope.exchange, attempt=envelope.attempt)
            self._ack_after(source, Lane.CONTROL, number, delivery)
            return
        job = Job(source, envelope, delivery, now, queued=True)
        self.jobs[job.exchange] = job
        pool.taken += 1
        if source not in self.member.leases.peers:
            self.member.leases.renew(source, now)
        if job.repeatable:
            self.deadlines.set(f"taken {job.exchange}", now + TAKEN_AFTER)
            self._start(job, pool, now)
        else:
            self._say_taken(job, now)

    def _say_taken(self, job: Job, now: float) -> None:
        number = self.member.control(job.edge, now, Kind.TAKEN, job.exchange, attempt=job.attempt)
        self._ack_after(job.edge, Lane.CONTROL, number, job.delivery)
        job.delivery = 0

    def _ack_after(self, peer: str, lane: Lane, number: int, delivery: int) -> None:
        if delivery:
            self._unacked.setdefault(peer, deque()).append((lane, number, delivery))

    def _advanced(self, peer: str, now: float) -> None:
        """The pair has moved on: ack what the edge has acknowledged, act on cancels that waited for what they cancel."""
        pair = self.member.pairs.get(peer)
        waiting = self._unacked.get(peer)
        if waiting:
            rest: deque[tuple[Lane, int, int]] = deque()
            for lane, number, delivery in waiting:
                out = pair.data_out if lane is Lane.DATA else pair.control_out
                if number <= out.acknowledged:
                    self._out.append(Ack(delivery))
                else:
                    rest.append((lane, number, delivery))
            if rest:
                self._unacked[peer] = rest
            else:
                del self._unacked[peer]
        deferred = self._deferred.pop(peer, None)
        for envelope in deferred or ():
            self._envelope(peer, envelope, now)

    def _start(self, job: Job, pool: Pool, now: float) -> None:
        """Give a job from a queue to a process of its server."""
        if job.kind is Kind.OPEN:
            child = pool.for_session(job.exchange, now)
            if child is None:
                self._give_back(job, "", now)
                return
            self._index(pool)
            self.sessions[job.exchange] = Session(job.exchange, pool.name, child.id, job, now)
            self._write(job, child, pool, now)
            pool.refill(now)
            self._index(pool)
        elif eras.MODERN not in pool.eras:
            self._answer(job, eras.legacy_only(jsonrpc.quoted(job.exchange), pool.name), now)
        elif (shared := pool.shared()) is None:
            pool.pending.append(job)
        else:
            self._to_shared(job, shared, pool, now)

    def _to_shared(self, job: Job, child: Child, pool: Pool, now: float) -> None:
        if job.exclusive:  # what the server logs names no request: one such request at a time
            if child.exclusive is not None:
                child.waiting.append(job)
                return
            child.exclusive = job
        self._write(job, child, pool, now)

    def _write(self, job: Job, child: Child, pool: Pool, now: float) -> None:
        job.child, job.started, job.begun = child.id, True, now
        child.jobs[job.exchange] = job
        frame, job.body = job.body, b""
        spans = self.member.identity.spans
        if job.trace and spans is not None:
            job.trace, parent = spans(job.trace), job.trace
            frame = jsonrpc.with_traceparent(jsonrpc.parse(frame), job.trace)
            job.client_id = job.client_id or parent.encode()
        pool.write(child, frame)

    # ------------------------------------------------------------ what edges say
    def _envelope(self, peer: str, envelope: Envelope, now: float) -> None:
        match envelope.kind:
            case Kind.REQUEST:
                self._request(peer, envelope, now)
            case Kind.FRAME:
                self._client_frame(peer, envelope, now)
            case Kind.GRANT:
                job = self.jobs.get(envelope.exchange)
                if job is not None and job.edge == peer and job.attempt == envelope.attempt and not job.started:
                    self._start(job, self.pools[job.server], now)
            case Kind.CANCEL:
                job = self.jobs.get(envelope.exchange)
                if job is None:
                    self._defer(peer, envelope)
                elif job.edge == peer and job.attempt <= envelope.attempt:
                    self._cancel(job, envelope.body, now)
            case Kind.END:
                session = self.sessions.get(envelope.session)
                if session is not None:
                    self._end_session(session)
            case Kind.ATTACH:
                self._attach(peer, envelope, now)
            case Kind.DETACH:
                session = self.sessions.get(envelope.session)
                if session is not None and session.stream is not None and session.stream.exchange == envelope.exchange:
                    session.stream = None
            case _:
                pass  # not for a bridge; a newer release may say more

    def _defer(self, peer: str, envelope: Envelope) -> None:
        """A cancel on the control lane may have overtaken the request it means, which is then still to come."""
        if envelope.lane is Lane.CONTROL and envelope.after > self.member.pairs.get(peer).data_in.contiguous:
            self._deferred.setdefault(peer, []).append(envelope)

    def _request(self, peer: str, envelope: Envelope, now: float) -> None:
        """A request that only this process can serve: of a session it owns, or a retry of a call that it parked."""
        job = Job(peer, envelope, 0, now, queued=False)
        pool = self.pools.get(envelope.server)
        if envelope.session:
            session = self.sessions.get(envelope.session)
            if session is None or pool is None:
                text = f"this session of {envelope.server} has ended; begin a new one"
                self._fault(job, Fault(Reason.SESSION_LOST, text, retryable=True), now)
                return
            session.used = now
            session.jobs[job.exchange] = job
            self.jobs[job.exchange] = job
            self._write(job, pool.children[session.child], pool, now)
            return
        state = parked.unwrap(jsonrpc.text(jsonrpc.request_state(envelope.body)))
        child = pool.children.get(state[1]) if pool is not None and state is not None else None
        if pool is None or state is None or child is None:
            text = f"the process of {envelope.server} that asked for this input is gone; the call may have been carried out in part"
            self._fault(job, Fault(Reason.OUTCOME_UNKNOWN, text), now)
            return
        job.body = jsonrpc.with_request_state(envelope.body, jsonrpc.quoted(state[2]))
        self.jobs[job.exchange] = job
        self._to_shared(job, child, pool, now)

    def _client_frame(self, peer: str, envelope: Envelope, now: float) -> None:
        """A notification or a response of a session's client."""
        session = self.sessions.get(envelope.session)
        if session is None:
            if envelope.exchange:
                text = "this session has ended; begin a new one"
                self._fault(Job(peer, envelope, 0, now, queued=False), Fault(Reason.SESSION_LOST, text, retryable=True), now)
            return
        session.used = now
        message = jsonrpc.parse(envelope.body)
        pool = self.pools[session.server]
        frame = message.frame
        if message.kind is MessageKind.RESPONSE:
            frame = session.to_server(message)
        elif message.method == "notifications/cancelled":
            job = session.newest(jsonrpc.refers_to(message))
            if job is None:
                self._defer(peer, envelope)
                frame = b""
            else:
                self.member.data(job.edge, now, Kind.ENDED, job.exchange)
                self._cancel(job, jsonrpc.with_reference(frame, jsonrpc.quoted(job.exchange)), now)
                frame = b""
        if frame:
            pool.write(pool.children[session.child], frame)
        if envelope.exchange:
            self.member.data(peer, now, Kind.WRITTEN, envelope.exchange)

    def _attach(self, peer: str, envelope: Envelope, now: float) -> None:
        session = self.sessions.get(envelope.session)
        if session is None:
            text = "this session has ended; begin a new one"
            self._fault(Job(peer, envelope, 0, now, queued=False), Fault(Reason.SESSION_LOST, text, retryable=True), now)
            return
        if session.stream is not None:  # each message goes to one stream, and the newest is the one its client reads
            self.member.data(session.stream.edge, now, Kind.ENDED, session.stream.exchange)
        session.stream = Stream(peer, envelope.exchange)
        session.used = now
        if not session.events:
            self._on_stream(session, b"", now)
        while session.buffer:
            self._on_stream(session, session.buffer.popleft(), now)

    # ------------------------------------------------------------ what servers say
    def _find(self, child: str) -> tuple[Pool, Child] | None:
        pool = self._children.get(child)
        found = pool.children.get(child) if pool is not None else None
        return (pool, found) if pool is not None and found is not None else None

    def _index(self, pool: Pool) -> None:
        for id in pool.children:
            self._children[id] = pool

    def _server_said(self, child_id: str, message: Message, now: float) -> None:
        found = self._find(child_id)
        if found is None:
            return  # of a process that is being stopped
        pool, child = found
        session = self.sessions.get(child.session) if child.session else None
        if message.kind is MessageKind.RESPONSE:
            exchange = jsonrpc.text(message.id) if message.id[:1] == b'"' else ""
            job = child.jobs.get(exchange)
            if job is not None:
                self._answer(job, message.frame, now)
            elif pool.probed(child, exchange, message, now):
                self._changed(pool, now)
        elif session is not None:
            self._to_session(session, message, now)
        elif message.kind is MessageKind.NOTIFICATION:
            named = jsonrpc.text(jsonrpc.refers_to(message) or b'""')
            job = child.jobs.get(named) if named else child.exclusive if message.method == "notifications/message" else None
            if job is not None:
                self.member.data(job.edge, now, Kind.MESSAGE, job.exchange, attempt=job.attempt, body=message.frame)
        else:
            reason = f"{message.method} is not a request this client takes"
            pool.write(child, jsonrpc.error_frame(message.id, jsonrpc.METHOD_NOT_FOUND, reason))

    def _to_session(self, session: Session, message: Message, now: float) -> None:
        job = session.related(message)
        if job is None and message.method == "notifications/progress":
            return  # none after its response
        frame = session.to_client(message)
        session.used = now
        if job is not None and message.method == "notifications/progress" and session.bound:
            self.member.data(job.edge, now, Kind.MESSAGE, job.exchange, body=frame)
        elif session.bound:
            self.member.data(session.edge, now, Kind.MESSAGE, "", session=session.id, body=frame)
        elif job is not None:
            if not job.events:
                self.member.data(job.edge, now, Kind.MESSAGE, job.exchange, event=0)  # primes the client to resume
            job.events += 1
            self.member.data(job.edge, now, Kind.MESSAGE, job.exchange, event=job.events, body=frame)
        elif session.stream is not None:
            self._on_stream(session, frame, now)
        else:
            session.buffer.append(frame)

    def _on_stream(self, session: Session, frame: bytes, now: float) -> None:
        stream = session.stream
        if stream is not None:
            self.member.data(stream.edge, now, Kind.MESSAGE, stream.exchange, event=session.events, body=frame)
            session.events += 1

    # ------------------------------------------------------------ the end of a job
    def _answer(self, job: Job, frame: bytes, now: float) -> None:
        """Hand a server's answer to the lane, which keeps it until the edge has it."""
        if b'"input_required"' in frame and not job.session:
            state = jsonrpc.text(jsonrpc.request_state(frame))
            if state and job.child:
                wrapped = jsonrpc.quoted(parked.wrap(self.member.me, job.child, state))
                frame = jsonrpc.with_request_state(frame, wrapped)
        limit = self.member.largest_body_bytes
        if len(frame) > limit:
            text = f"the answer of {job.server} has {len(frame)} bytes; at most {limit} bytes pass this broker"
            fault = Fault(Reason.TOO_LARGE, text)
            frame = fault_frame(jsonrpc.quoted(job.exchange), fault, server=job.server, exchange=job.exchange)
        session = self.sessions.get(job.exchange) if job.kind is Kind.OPEN else None
        opened = session is not None and not jsonrpc.parse(frame).error
        self._drop(job, now)
        name = job.exchange if opened else ""
        number = self.member.data(
            job.edge, now, Kind.ANSWER, job.exchange, attempt=job.attempt, session=name, body=frame
        )
        self._ack_after(job.edge, Lane.DATA, number, job.delivery)
        if session is not None and not opened:
            self._end_session(session)
        self._record(job, "ok", now)

    def _fault(self, job: Job, fault: Fault, now: float) -> None:
        frame = fault_frame(jsonrpc.quoted(job.exchange), fault, server=job.server, exchange=job.exchange)
        self._drop(job, now)
        number = self.member.data(job.edge, now, Kind.ANSWER, job.exchange, attempt=job.attempt, body=frame)
        self._ack_after(job.edge, Lane.DATA, number, job.delivery)
        self._record(job, fault.reason.value, now)

    def _give_back(self, job: Job, reason: str, now: float) -> None:
        """The job was not started here, or may be run again elsewhere: its edge decides."""
        self._drop(job, now)
        fields = {"body": reason.encode()} if reason else {}
        number = self.member.control(job.edge, now, Kind.RETURNED, job.exchange, attempt=job.attempt, **fields)
        self._ack_after(job.edge, Lane.CONTROL, number, job.delivery)

    def _cancel(self, job: Job, frame: bytes, now: float) -> None:
        """Nobody waits for this job: tell its server if it knows of it. `frame` is its client's own cancel, if there was one."""
        if job.kind is Kind.OPEN and (opening := self.sessions.get(job.exchange)) is not None:
            self._end_session(opening)
        elif job.started:
            found = self._find(job.child)
            if found is not None:
                found[0].write(found[1], frame or _cancelled(job.exchange))
        if job.delivery:
            self._out.append(Ack(job.delivery))
            job.delivery = 0
        self._drop(job, now)
        self._record(job, "cancelled", now)

    def _drop(self, job: Job, now: float) -> None:
        """Forget a job, free its slot, and let the next one in that waited for it."""
        if self.jobs.pop(job.exchange, None) is None:
            return
        pool = self.pools[job.server]
        self.deadlines.clear(f"taken {job.exchange}")
        if job.queued:
            pool.taken -= 1
        session = self.sessions.get(job.session or job.exchange)
        if session is not None:
            session.jobs.pop(job.exchange, None)
        if job in pool.pending:
            pool.pending.remove(job)
        child = pool.children.get(job.child)
        if child is not None:
            child.jobs.pop(job.exchange, None)
        for holder in pool.children.values() if job.exclusive else ():
            if job in holder.waiting:
                holder.waiting.remove(job)
            elif holder.exclusive is job:
                holder.exclusive = None
                if holder.waiting:
                    self._to_shared(holder.waiting.popleft(), holder, pool, now)

    def _end_session(self, session: Session) -> None:
        self.sessions.pop(session.id, None)
        pool = self.pools[session.server]
        for job in list(session.jobs.values()):
            self._drop(job, session.used)
        child = pool.children.get(session.child)
        if child is not None:
            pool.stop(child)
            self._children.pop(child.id, None)
        if session.stream is not None:
            self.member.data(session.stream.edge, session.used, Kind.ENDED, session.stream.exchange)

    # ------------------------------------------------------------ processes
    def _exited(self, child_id: str, reason: str, now: float) -> None:
        found = self._find(child_id)
        if found is None:
            return
        pool, child = found
        del self._children[child_id]
        pool.exited(child, reason, now)
        session = self.sessions.pop(child.session, None) if child.session else None
        for job in [*child.jobs.values(), *child.waiting]:
            self._orphan(job, reason, now)
        if session is not None:
            text = reason.encode()
            if session.bound:
                self.member.data(session.edge, now, Kind.ENDED, "", session=session.id, body=text)
            elif session.stream is not None:
                self.member.data(session.stream.edge, now, Kind.ENDED, session.stream.exchange)
        self._index(pool)
        self._changed(pool, now)

    def _orphan(self, job: Job, reason: str, now: float) -> None:
        """Its process died under the job."""
        if job.kind is Kind.OPEN:
            self._fault(job, Fault(Reason.UNAVAILABLE, f"{job.server} could not open a session: {reason}", retryable=True), now)
        elif job.session and job.repeatable:
            self._fault(job, Fault(Reason.SESSION_LOST, f"the process of this session of {job.server} ended: {reason}"), now)
        elif job.queued and (job.repeatable or not job.started):
            self._give_back(job, reason, now)
        else:
            text = f"{job.server} ended while it ran this call, which may have been carried out: {reason}"
            self._fault(job, Fault(Reason.OUTCOME_UNKNOWN, text), now)

    def _restart(self, pool: Pool, now: float) -> None:
        pool.start(now)
        self._index(pool)

    def _changed(self, pool: Pool, now: float) -> None:
        """A server's health or era may have changed: take or give back its work, and say so at once."""
        self._index(pool)
        shared = pool.shared()
        if shared is not None:
            pending, pool.pending = pool.pending, []
            for job in pending:
                self._to_shared(job, shared, pool, now)
        elif pool.health is Health.UNHEALTHY:
            for job in list(pool.pending):
                self._give_back(job, "", now)
        self._serve(now)
        if not self.member.left:
            self.member.announce(now)

    def _record(self, job: Job, outcome: str, now: float) -> None:
        if not job.trace:
            return
        self._out.append(
            Completed(
                Record(
                    side=Side.BRIDGE,
                    exchange=job.exchange,
                    server=job.server,
                    method="",
                    target="",
                    transport="stdio",
                    session=job.session,
                    attempt=job.attempt,
                    arrived=job.arrived,
                    begun=job.begun,
                    ended=now,
                    outcome=outcome,
                    trace=job.trace,
                    span=job.trace,
                    sent_at=job.sent - self.member.identity.wall if job.sent else 0.0,
                )
            )
        )


def _cancelled(exchange: str) -> bytes:
    id = jsonrpc.quoted(exchange)
    return b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":' + id + b"}}"

"""The jobs of a bridge: taken from a queue or a lane, written to a process, ended with exactly one word to their edge."""

from __future__ import annotations

from fabric import jsonrpc, jsonrpc_swap
from fabric.core import parked, trace
from fabric.core.child import Child
from fabric.core.copies import Copies
from fabric.core.deadlines import Delay
from fabric.core.effects import Completed, Effect
from fabric.core.faults import Fault, Lost, Reason, fault_frame
from fabric.core.job import Job, job_of
from fabric.core.member import Member
from fabric.core.pool import Pool
from fabric.core.record import Record, Side, judged
from fabric.core.renewal import INPUT_IN
from fabric.core.stream import LONGEST_NAMES
from fabric.envelope import Envelope, Kind, Lane
from fabric.errors import InvalidFrame

TAKEN_AFTER = 0.05
"""Seconds after which a `taken` of its own is owed for repeatable work that has not been answered."""

QUIET_AFTER_CANCEL = 30.0
"""Seconds for which a process's logs reach nobody after a request that asked for them was cancelled in it."""


class Jobs:
    """Every open job, by exchange."""

    def __init__(self, member: Member, pools: dict[str, Pool], copies: Copies, out: list[Effect]) -> None:
        self.open: dict[str, Job] = {}
        self._member = member
        self._pools = pools
        self._copies = copies
        self.owed = Delay(TAKEN_AFTER)  # by exchange: a `taken` of its own, if it is not answered first
        self._out = out

    def add(self, job: Job) -> None:
        """A job begins; one from a queue holds a slot of its server."""
        self.open[job.exchange] = job
        if job.queued:
            pool = self._pools[job.server]
            pool.taken += 1
            pool.taken_bytes += len(job.body)

    def say_taken(self, job: Job, now: float) -> None:
        """Tell the edge that this bridge holds the attempt."""
        self.owed.clear(job.exchange)
        number = self._member.control(job.edge, now, Envelope(kind=Kind.TAKEN, exchange=job.exchange, attempt=job.attempt))
        self._copies.hold(job.edge, Lane.CONTROL, number, job.delivery)
        job.delivery = 0

    def again(self, job: Job, envelope: Envelope, delivery: int, now: float) -> None:
        """Another sending, or another copy, of what is open here: of no use while this job lasts.

        It is settled once the edge knows of the job.
        """
        job.newest = max(job.newest, envelope.attempt)
        if job.delivery:
            self.say_taken(job, now)
        pair = self._member.pairs.get(job.edge)
        self._copies.hold(job.edge, Lane.CONTROL, pair.control_out.next - 1, delivery)
        self._copies.advanced(pair)

    # ------------------------------------------------------------ running
    def to_shared(self, job: Job, child: Child, pool: Pool, now: float) -> None:
        """Run a modern request on a process that others use too."""
        if job.exclusive:  # what the server logs names no request: one such request at a time
            if child.exclusive is not None:
                child.waiting.append(job)
                return
            child.exclusive = job
        self.write(job, child, pool, now)

    def write(self, job: Job, child: Child, pool: Pool, now: float) -> None:
        """Write the request to the process that is to run it."""
        job.child, job.started, job.begun = child.id, True, now
        child.jobs[job.exchange] = job
        frame, job.body = job.body, b""
        if job.queued:
            pool.taken_bytes -= len(frame)
        pool.write(child, self._traced(job, frame) if job.trace else frame)

    def _traced(self, job: Job, frame: bytes) -> bytes:
        """The request with the context that its server's own spans hang below."""
        spans = self._member.identity.spans
        job.span = spans(job.trace) if spans is not None else ""
        try:
            message = jsonrpc.parse(frame)
            named = jsonrpc.meta(message)
            job.method, job.target = message.method, jsonrpc.text(named.name) or jsonrpc.text(named.uri)
            return jsonrpc_swap.with_traceparent(message, trace.after(job.span, trace.CALL) if job.span else job.trace)
        except InvalidFrame:
            return frame  # its client wrote a context in a way that cannot be replaced

    # ------------------------------------------------------------ ends
    def answer(self, job: Job, frame: bytes, now: float, session: str = "") -> None:
        """Hand a server's response to the lane, which keeps it until the edge has it. session: the one it has opened."""
        if b'"input_required"' in frame and not job.session:
            state = jsonrpc.text(jsonrpc.request_state(frame))
            if state and job.child:
                self._pools[job.server].children[job.child].awaits_input_until = now + INPUT_IN
                wrapped = jsonrpc.quoted(parked.wrap(self._member.me, job.child, state))
                frame = jsonrpc_swap.with_request_state(frame, wrapped)
        limit = self._member.largest_body_bytes - (LONGEST_NAMES if job.stream is not None else 0)
        if len(frame) > limit:
            text = f"the answer of {job.server} has {len(frame)} bytes; at most {limit} bytes pass this broker"
            self.fault(job, Fault(Reason.TOO_LARGE, text), now)
        else:
            self._say(job, frame, session, now)

    def fault(self, job: Job, fault: Fault, now: float) -> None:
        """Answer with an error of the fabric's own."""
        frame = fault_frame(jsonrpc.quoted(job.exchange), fault, server=job.server, exchange=job.exchange)
        self._say(job, frame, "", now)

    def _say(self, job: Job, frame: bytes, session: str, now: float) -> None:
        self.drop(job, now)
        event = job.stream.answer(self._member, frame, now) if job.stream is not None else -1
        if job.edge:
            kind, exchange, attempt = Kind.ANSWER, job.exchange, job.attempt
            answer = Envelope(kind=kind, exchange=exchange, attempt=attempt, session=session, event=event, body=frame)
            number = self._member.data(job.edge, now, answer)
            self._copies.hold(job.edge, Lane.DATA, number, job.delivery, answered=job.exchange if job.queued else "")
        if job.trace:
            self._record(job, *judged(frame), now)

    def refuse(self, edge: str, envelope: Envelope, error: InvalidFrame, now: float) -> None:
        """Answer a message from a lane in which an id or state cannot be swapped."""
        if envelope.exchange:
            job = self.open.get(envelope.exchange) or job_of(edge, envelope, 0, now, queued=False)
            self.fault(job, Fault(Reason.INVALID, str(error)), now)

    def give_back(self, job: Job, reason: str, now: float) -> None:
        """Not started here, or fit to be run again elsewhere: its edge decides. reason: why it failed after its start."""
        self.drop(job, now)
        kind, exchange, attempt = Kind.RETURNED, job.exchange, job.attempt
        returned = Envelope(kind=kind, exchange=exchange, attempt=attempt, repeatable=job.started, body=reason.encode())
        number = self._member.control(job.edge, now, returned)
        self._copies.hold(job.edge, Lane.CONTROL, number, job.delivery)
        self._record(job, "returned", 0, now)

    def cancel(self, job: Job, frame: bytes, now: float) -> None:
        """Nobody waits for this job: tell its server, if it knows of it. frame: its client's own cancel, if there was one."""
        pool = self._pools[job.server]
        child = pool.children.get(job.child)
        if job.started and child is not None and job.kind is not Kind.OPEN:
            pool.tell(child, frame or _cancelled(job.exchange))
            if child.exclusive is job:  # its server may go on with it for a while, and must not tell the next client of it
                child.quiet_until = now + QUIET_AFTER_CANCEL
        self._copies.settle(job.delivery, done=True)
        self.drop(job, now)
        self._record(job, "cancelled", 0, now)

    def orphaned(self, job: Job, reason: str, now: float) -> None:
        """Its process has died under the job."""
        if job.kind is Kind.OPEN:
            text = f"{job.server} could not open a session: {reason}"
            self.fault(job, Fault(Reason.UNAVAILABLE, text, retryable=not job.started), now)
        elif job.session and (job.repeatable or not job.started):
            text = f"the process of this session of {job.server} ended: {reason}"
            self.fault(job, Fault(Reason.SESSION_LOST, text, retryable=not job.started), now)
        elif job.queued and (job.repeatable or not job.started):
            self.give_back(job, reason if job.started else "", now)
        else:
            text = f"{job.server} ended while it ran this call, which may have been carried out: {reason}"
            self.fault(job, Fault(Reason.OUTCOME_UNKNOWN, text), now)

    def lost(self, job: Job, answer: Lost, now: float) -> None:
        """Its process lives, and the request did not get through, or its answer did not."""
        if job.kind is not Kind.OPEN and job.queued and answer.again and (job.repeatable or not answer.started):
            self.give_back(job, answer.fault.message if answer.started else "", now)
        elif answer.spoke and job.kind is not Kind.OPEN:
            text = f"{answer.fault.message}; the call may have been carried out"
            self.fault(job, Fault(answer.fault.reason, text), now)
        else:
            self.fault(job, answer.fault, now)

    def drop(self, job: Job, now: float) -> None:
        """Forget a job, free its slot, and let the next one in that waited for it."""
        if self.open.pop(job.exchange, None) is None:
            return
        pool = self._pools[job.server]
        if job.queued:
            self.owed.clear(job.exchange)
            pool.taken -= 1
            pool.taken_bytes -= len(job.body)
        if job.siblings is not None:
            job.siblings.pop(job.exchange, None)
        if not job.started and job in pool.pending:
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
                    self.to_shared(holder.waiting.popleft(), holder, pool, now)

    def _record(self, job: Job, outcome: str, code: int, now: float) -> None:
        spans = self._member.identity.spans
        span = job.span or (spans(job.trace) if job.trace and spans is not None else "")
        if not span:
            return
        self._out.append(
            Completed(
                Record(
                    side=Side.BRIDGE,
                    exchange=job.exchange,
                    server=job.server,
                    method=job.method,
                    target=job.target,
                    transport=self._pools[job.server].limits.transport,
                    session=job.session,
                    attempt=job.attempt,
                    arrived=job.arrived,
                    begun=job.begun,
                    ended=now,
                    outcome=outcome,
                    code=code,
                    trace=job.trace,
                    span=span,
                    queued=job.queued,
                    sent=job.sent - self._member.identity.wall,
                )
            )
        )


def _cancelled(exchange: str) -> bytes:
    id = jsonrpc.quoted(exchange)
    return b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":' + id + b"}}"

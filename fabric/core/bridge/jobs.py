"""The jobs of a bridge: takes them from a queue or a lane, has a process run them, and ends each with one message to its edge.

Above it: sessions, server_events and the core. Below it: processes, and the Speaker of each.
"""

from __future__ import annotations

from collections import defaultdict

from fabric import faults
from fabric.core import request_state
from fabric.core.bridge.deliveries import PendingDeliveries
from fabric.core.bridge.job import Job, job_of
from fabric.core.bridge.processes.child import Child
from fabric.core.bridge.processes.pool import Pool
from fabric.core.bridge.processes.registry import ProcessRegistry
from fabric.core.bridge.speaking.base import Answer, ServerMessage
from fabric.core.bridge.stream import LONGEST_NAMES
from fabric.core.deadlines import Delay
from fabric.core.effects import Completed, Effect
from fabric.core.peers.member import Member
from fabric.core.telemetry_record import CALL, Record, Side, after
from fabric.envelope import Envelope, Kind, Lane
from fabric.errors import InvalidFrame
from fabric.faults import Fault, LostAnswer, Reason, fault_frame
from fabric.mcp import jsonrpc, swap

TAKEN_AFTER = 0.05
"""Seconds after which the edge of repeatable work that has not been answered gets a `taken`."""


class Jobs:
    """Every open job of one bridge."""

    def __init__(
        self,
        member: Member,
        pools: dict[str, Pool],
        processes: ProcessRegistry,
        deliveries: PendingDeliveries,
        out: list[Effect],
    ) -> None:
        self.open: dict[str, Job] = {}
        """The open jobs, by exchange."""
        self.owed = Delay(TAKEN_AFTER)
        """The exchanges whose edges get a `taken` if they are not answered first, and when; see `expire`."""
        self.finished: defaultdict[tuple[str, str], int] = defaultdict(int)
        """See BridgeSnapshot.finished. Counted where a job ends, whether or not it is traced."""
        self._member = member
        self._pools = pools
        self._processes = processes
        self._deliveries = deliveries
        self._out = out

    def add(self, job: Job) -> None:
        """A job from a lane begins."""
        self.open[job.exchange] = job

    def take(self, job: Job, now: float) -> None:
        """A job from a queue begins: it has a slot of its server, and its edge learns that this bridge holds the attempt."""
        self.open[job.exchange] = job
        self._pools[job.server].slots.take(job)
        if job.repeatable:
            self.owed.set(job.exchange, now)
        else:
            self._say_taken(job, now)

    def expire(self, now: float) -> None:
        """Say `taken` of repeatable work whose answer takes long."""
        for exchange in self.owed.expired(now):
            self._say_taken(self.open[exchange], now)

    def _say_taken(self, job: Job, now: float) -> None:
        """Tell the edge that this bridge holds the attempt."""
        self.owed.clear(job.exchange)
        number = self._member.control(job.edge, now, Envelope(kind=Kind.TAKEN, exchange=job.exchange, attempt=job.attempt))
        self._deliveries.hold(job.edge, Lane.CONTROL, number, job.delivery)
        job.delivery = 0

    def again(self, job: Job, envelope: Envelope, delivery: int, now: float) -> None:
        """Another sending or copy of an open job has come. It is settled once the edge knows that this bridge has the job."""
        job.newest = max(job.newest, envelope.attempt)
        if job.delivery:
            self._say_taken(job, now)
        pair = self._member.pairs.get(job.edge)
        self._deliveries.hold(job.edge, Lane.CONTROL, pair.control_out.next - 1, delivery)
        self._deliveries.advanced(pair)

    def settle(self, job: Job, *, done: bool) -> None:
        """Settle the broker's delivery of a job before the job ends. done: no other bridge is to have it."""
        self._deliveries.settle(job.delivery, done=done)
        job.delivery = 0

    # ------------------------------------------------------------ running
    def give(self, job: Job, now: float) -> bool:
        """Give a modern request to a process of its server, or have it wait for one. Returns False where none can be had."""
        pool = self._pools[job.server]
        try:
            child = pool.shared() if pool.modern is not None else pool.initialized.process_for(job, now)
        except InvalidFrame as error:
            self.fault(job, Fault(Reason.INVALID, str(error)), now)
            return True
        if child is not None:
            self.run(job, child, now)
        elif pool.modern is not None or pool.initialized.awaits(job):
            pool.slots.wait(job)
        else:
            return False
        return True

    def run_waiting(self, pool: Pool, now: float) -> None:
        """There may be a process now for modern requests that wait for one."""
        for job in pool.slots.release():
            if not self.give(job, now):
                self.give_back(job, "", now)

    def run(self, job: Job, child: Child, now: float) -> None:
        """Have a process run a job, at once or when its turn comes."""
        job.child = child.id
        if job.exclusive and (turns := child.speaker.turns) is not None and not turns.enter(job):
            return
        job.started, job.begun = True, now
        child.jobs[job.exchange] = job
        frame, job.body = job.body, b""
        if job.queued:
            self._pools[job.server].slots.written(frame)
        try:
            outputs = child.speaker.ask(job, self._traced(job, frame) if job.trace else frame)
        except InvalidFrame as error:
            self.fault(job, Fault(Reason.INVALID, str(error)), now)
            return
        for output in outputs:
            if isinstance(output, bytes):
                self._processes.write(child, output)
            elif isinstance(output, Answer):
                self.answer(output.job, output.frame, now, failed=output.refused)
            elif output.job is not None:
                self.message(output.job, output.frame, now)

    def resume(self, job: Job, now: float) -> None:
        """Run a request with a requestState that a bridge has wrapped: in the process that issued it, and in no other."""
        pool = self._pools.get(job.server)
        state = request_state.unwrap(jsonrpc.text(jsonrpc.request_state(job.body)))
        child = pool.issuer(state[1]) if pool is not None and state is not None else None
        if state is None or child is None:
            text = f"the process of {job.server} that asked for this input is gone; the call may have been carried out in part"
            self.fault(job, Fault(Reason.OUTCOME_UNKNOWN, text), now)
            return
        job.body = child.speaker.resume(job.body, state[2])
        self.add(job)
        self.run(job, child, now)

    def message(self, job: Job, frame: bytes, now: float) -> None:
        """Send a message that comes before a job's answer, unless the broker cannot carry it: it would block the lane."""
        if len(frame) <= self._member.largest_body_bytes:
            kind, exchange, attempt = Kind.MESSAGE, job.exchange, job.attempt
            self._member.data(job.edge, now, Envelope(kind=kind, exchange=exchange, attempt=attempt, body=frame))

    def unsent(self, job: Job) -> None:
        """No byte of a job's request has reached its process, after all."""
        job.started = False

    def _traced(self, job: Job, frame: bytes) -> bytes:
        """The request with the traceparent of which the server's own spans are children."""
        spans = self._member.identity.spans
        job.span = spans(job.trace) if spans is not None else ""
        try:
            message = jsonrpc.parse(frame)
            named = jsonrpc.meta(message)
            job.method, job.target = message.method, jsonrpc.text(named.name) or jsonrpc.text(named.uri)
            return swap.with_traceparent(message, after(job.span, CALL) if job.span else job.trace)
        except InvalidFrame:
            return frame  # the traceparent of its client cannot be replaced

    # ------------------------------------------------------------ ends
    def answer(self, job: Job, frame: bytes, now: float, session: str = "", *, failed: bool = False) -> None:
        """Send a response on the lane, which keeps it until the edge has it.

        session: the one that it has opened. failed: it is an error.
        """
        limit = self._member.largest_body_bytes - (LONGEST_NAMES if job.stream is not None else 0)
        if len(frame) > limit:
            text = f"the answer of {job.server} has {len(frame)} bytes; at most {limit} bytes pass this broker"
            self.fault(job, Fault(Reason.TOO_LARGE, text), now)
        else:
            self._end(job, frame, session, "error" if failed else "ok", now)

    def fault(self, job: Job, fault: Fault, now: float) -> None:
        """Answer with an error of the fabric's own."""
        frame = fault_frame(jsonrpc.quoted(job.exchange), fault, server=job.server, exchange=job.exchange)
        self._end(job, frame, "", fault.reason.value, now)

    def _end(self, job: Job, frame: bytes, session: str, outcome: str, now: float) -> None:
        self.drop(job, outcome, now)
        event = job.stream.answer(self._member, frame, now) if job.stream is not None else -1
        if job.edge:
            kind, exchange, attempt = Kind.ANSWER, job.exchange, job.attempt
            answer = Envelope(kind=kind, exchange=exchange, attempt=attempt, session=session, event=event, body=frame)
            number = self._member.data(job.edge, now, answer)
            if job.queued:
                self._deliveries.hold(job.edge, Lane.DATA, number, job.delivery, answered=job.exchange)
        if job.trace:
            self._record(job, *faults.outcome(frame), now)

    def refuse(self, edge: str, envelope: Envelope, error: InvalidFrame, now: float) -> None:
        """Answer an envelope in whose frame an id or state cannot be swapped."""
        if envelope.exchange:
            job = self.open.get(envelope.exchange) or job_of(edge, envelope, 0, now, queued=False)
            self.fault(job, Fault(Reason.INVALID, str(error)), now)

    def give_back(self, job: Job, reason: str, now: float) -> None:
        """Give a job back to its edge, if it was not started or may be run again. reason: why it failed; else empty."""
        self.drop(job, "returned", now)
        kind, exchange, attempt = Kind.RETURNED, job.exchange, job.attempt
        returned = Envelope(kind=kind, exchange=exchange, attempt=attempt, repeatable=job.started, body=reason.encode())
        number = self._member.control(job.edge, now, returned)
        self._deliveries.hold(job.edge, Lane.CONTROL, number, job.delivery)
        self._record(job, "returned", 0, now)

    def cancel(self, job: Job, frame: bytes, now: float) -> list[ServerMessage]:
        """Nobody waits for this job: cancel it at its server, if that has it. frame: its client's own cancel, or empty.

        Returns the messages that the client of its session is to get for it.
        """
        messages = []
        child = self._processes.by_id.get(job.child)
        if job.started and child is not None:
            for output in child.speaker.cancel(job, frame, now):
                if isinstance(output, bytes):
                    self._processes.tell(child, output)
                elif isinstance(output, ServerMessage):
                    messages.append(output)
        self._deliveries.settle(job.delivery, done=True)
        self.drop(job, "cancelled", now)
        self._record(job, "cancelled", 0, now)
        return messages

    def orphaned(self, job: Job, reason: str, now: float) -> None:
        """A job's process has ended without an answer."""
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

    def answer_lost(self, job: Job, answer: LostAnswer, now: float) -> None:
        """A job's process lives, but the request did not reach it, or its answer did not reach this bridge."""
        if job.kind is not Kind.OPEN and job.queued and answer.again and (job.repeatable or not answer.started):
            self.give_back(job, answer.fault.message if answer.started else "", now)
        elif answer.server_answered and job.kind is not Kind.OPEN:
            text = f"{answer.fault.message}; the call may have been carried out"
            self.fault(job, Fault(answer.fault.reason, text), now)
        else:
            self.fault(job, answer.fault, now)

    def drop(self, job: Job, outcome: str, now: float) -> None:
        """Forget a job, free its slot, and run the next job that waits for its turn. outcome: see BridgeSnapshot.finished."""
        self.finished[job.server, outcome] += 1
        if self.open.pop(job.exchange, None) is None:
            return
        pool = self._pools[job.server]
        if job.queued:
            self.owed.clear(job.exchange)
            pool.slots.free(job)
        if job.siblings is not None:
            job.siblings.pop(job.exchange, None)
        if not job.started:
            pool.forget(job)
        child = self._processes.by_id.get(job.child)
        if child is not None:
            child.jobs.pop(job.exchange, None)
            if job.exclusive and (turns := child.speaker.turns) is not None and (following := turns.leave(job)) is not None:
                self.run(following, child, now)
            elif pool.modern is None and pool.slots.waiting:
                self.run_waiting(pool, now)

    def _record(self, job: Job, outcome: str, code: int, now: float) -> None:
        spans = self._member.identity.spans
        span = job.span or (spans(job.trace) if job.trace and spans is not None else "")
        if not span:
            return
        pool = self._pools.get(job.server)  # the state of a retry may come from another server than the one that it is sent to
        self._out.append(
            Completed(
                Record(
                    side=Side.BRIDGE,
                    exchange=job.exchange,
                    server=job.server,
                    method=job.method,
                    target=job.target,
                    transport=pool.limits.transport if pool is not None else "",
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

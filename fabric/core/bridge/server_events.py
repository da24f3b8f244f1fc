"""Handles the events of a bridge's servers: what they mean for jobs, sessions and announcements.

Above it: the core, which hands the events on. Below it: jobs, sessions, and the pool of each server.
"""

from __future__ import annotations

from fabric.core.bridge.intake import Intake
from fabric.core.bridge.job import Job
from fabric.core.bridge.jobs import Jobs
from fabric.core.bridge.processes.child import Child
from fabric.core.bridge.processes.pool import Pool
from fabric.core.bridge.processes.registry import ProcessRegistry
from fabric.core.bridge.sessions.sessions import Sessions
from fabric.core.bridge.speaking.base import Answer
from fabric.core.bridge.strays import adopted
from fabric.core.bridge.stream import LONGEST_NAMES
from fabric.core.effects import Effect, StatusChanged, Unasked
from fabric.core.peers.member import Member
from fabric.envelope import Kind
from fabric.errors import InvalidFrame
from fabric.faults import CODES, Fault, LostAnswer, Reason
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message, MessageKind


class ServerEvents:
    """Handles the events of all processes, and checks the health of their servers."""

    def __init__(
        self,
        member: Member,
        pools: dict[str, Pool],
        processes: ProcessRegistry,
        jobs: Jobs,
        sessions: Sessions,
        intake: Intake,
        out: list[Effect],
    ) -> None:
        self._member = member
        self._pools = pools
        self._processes = processes
        self._jobs = jobs
        self._sessions = sessions
        self._intake = intake
        self._out = out

    # ------------------------------------------------------------ events of processes
    def started(self, child_id: str) -> None:
        """A process runs."""
        child = self._processes.by_id.get(child_id)
        if child is not None:
            self._processes.started(child)

    def frame(self, child_id: str, message: Message, now: float) -> None:
        """A process wrote a message, or failed to. Raises InvalidFrame if its ids cannot be swapped: see `garbled`."""
        child = self._processes.by_id.get(child_id)
        if child is None:
            return  # the process is being stopped
        pool = self._pools[child.server]
        check = pool.checkup.under_way
        if check is not None and check.child is not child:
            check = None
        if check is not None:
            if not isinstance(message, LostAnswer) or message.server_answered:
                self.checked(pool, "", now)  # it writes, so it lives
            elif jsonrpc.text(message.id) == check.id:
                self.checked(pool, message.fault.message, now)
        session = self._sessions.open.get(child.session) if child.session else None
        job = None
        if message.kind is MessageKind.RESPONSE:
            exchange = jsonrpc.text(message.id) if message.id[:1] == b'"' else ""
            job = child.jobs.get(exchange)
            if job is None and (job := child.speaker.job_of(exchange)) is None and not child.speaker.asked(exchange):
                if check is not None or (answer := adopted(child, message, pool.name)) is None:
                    self._answered_us(child, exchange, message, now)
                    return
                message, job = answer, next(iter(child.jobs.values()))
            if child.open_at_notification is not None:
                self._processes.answered(child, job.exchange if job is not None else exchange)
            if session is not None:
                session.used = now
            if isinstance(message, LostAnswer) and job is not None:
                self._lost(child, job, message, now)
                return
        else:
            if message.kind is MessageKind.REQUEST and message.method == "ping":
                self._out.append(Unasked(child.id))
            large = len(message.frame) + LONGEST_NAMES > self._member.largest_body_bytes
            if large and (session is not None or child in pool.initialized):
                self._refuse_large(child, message)
                return
        for output in child.speaker.hear(message, job, now):
            if isinstance(output, bytes):
                self._processes.tell(child, output)
            elif isinstance(output, Answer):
                if output.job.kind is Kind.OPEN:
                    self._opened(child, output, now)
                else:
                    self._jobs.answer(output.job, output.frame, now, failed=output.refused or bool(message.error))
            elif session is not None:
                self._sessions.message(session, output, now)
            elif output.job is not None:
                self._jobs.message(output.job, output.frame, now)
            else:
                for listener, frame in pool.initialized.notified(output.message):
                    self._jobs.message(listener, frame, now)
        if job is None and message.kind is MessageKind.RESPONSE:
            self._speaker_answered(child, pool, message, now)

    def _refuse_large(self, child: Child, message: Message) -> None:
        """A message of a server is too large for the broker: answer it with an error, if it is a request."""
        if message.id:
            text = f"a request of {len(message.frame)} bytes is more than passes this broker"
            self._processes.tell(child, jsonrpc.error_frame(message.id, CODES[Reason.TOO_LARGE], text))

    def _answered_us(self, child: Child, id: str, message: Message, now: float) -> None:
        """A process has answered no request of a client, but one of its probe, a check, or one that is not known here."""
        self._out.append(Unasked(child.id))
        pool = self._pools[child.server]
        if message.error and message.id == b"null":
            id = pool.question(child)
        if (not isinstance(message, LostAnswer) or message.server_answered) and pool.probed(child, id, message, now):
            self._changed(pool, now)
        pool.checkup.answered(child, id)

    def _speaker_answered(self, child: Child, pool: Pool, answer: Message, now: float) -> None:
        """A process has answered a request of its Speaker, and may be able to run a job now, or be of no use."""
        failure = pool.initialized.failure(child)
        if failure:
            waiting = pool.initialized.waiting_for(child)
            pool.stop(child)
            for job in [job for job in pool.slots.waiting if job.exchange in waiting]:
                if isinstance(answer, LostAnswer) and answer.again:
                    self._jobs.give_back(job, "", now)
                    continue
                self._jobs.fault(job, Fault(Reason.UNAVAILABLE, f"{pool.name} is of no use to this client: {failure}"), now)
        self._jobs.run_waiting(pool, now)

    def _opened(self, child: Child, answer: Answer, now: float) -> None:
        failed = bool(jsonrpc.parse(answer.frame).error)
        if not failed:
            self._pools[child.server].opened(child, now)
        self._sessions.opened(answer.job, answer.frame, now, failed=failed)

    def _lost(self, child: Child, job: Job, answer: LostAnswer, now: float) -> None:
        jobs, frames = child.speaker.lost(job, answer, now)
        for frame in frames:
            self._processes.tell(child, frame)
        for each in jobs:
            self._jobs.answer_lost(each, answer, now)
        opening = self._sessions.open.get(job.exchange)
        if opening is not None:
            self._sessions.end(opening, now)

    def garbled(self, child_id: str, message: Message, error: InvalidFrame, now: float) -> None:
        """A server wrote a message whose ids cannot be swapped: an answer becomes an error, any other message is dropped."""
        child = self._processes.by_id.get(child_id)
        if child is not None and message.kind is MessageKind.RESPONSE:
            id = jsonrpc.text(message.id)
            job = child.jobs.get(id) or child.speaker.job_of(id)
            if job is not None:
                reason = f"{job.server} sent an answer that cannot be carried: {error}"
                self._jobs.fault(job, Fault(Reason.INVALID, reason), now)

    def behind(self, child_id: str, unread_bytes: int, now: float) -> None:
        """A process reads less than is written to it: hold the link of its session, if it has one."""
        child = self._processes.by_id.get(child_id)
        if child is not None:
            self._processes.behind(child, unread_bytes)
            self._sessions.pace(child, now)

    def caught_up(self, child_id: str, now: float) -> None:
        """A process has read nearly all that was written to it."""
        child = self._processes.by_id.get(child_id)
        if child is not None:
            self._processes.caught_up(child)
            self._sessions.pace(child, now)

    def exited(self, child_id: str, reason: str, now: float, *, refused: bool, unsent: frozenset[str]) -> None:
        """A process has ended by itself, or never started. refused: as in Pool.exited. unsent: as in ServerExited."""
        child = self._processes.by_id.get(child_id)
        if child is None:
            return
        pool = self._pools[child.server]
        for job in child.jobs.values():
            if job.exchange in unsent or not child.started:
                self._jobs.unsent(job)
        pool.exited(child, reason, now, refused=refused)
        self._orphan(child, reason, now)
        self._sessions.exited(child, reason, now)
        self._changed(pool, now)

    # ------------------------------------------------------------ health
    def look(self, now: float) -> None:
        """Begin checks that are due, fail those that are late, and stop old processes that have finished."""
        for pool in self._pools.values():
            if late := pool.checkup.look(now):
                self.checked(pool, late, now)
            for job in pool.renewal.overdue(now):
                self._jobs.give_back(job, "", now)
            if pool.clear_away(now):
                self._changed(pool, now)

    def renew(self, pool: Pool, token: str, now: float) -> None:
        """A person wants new processes for this server. token: names the request, which is repeated each second."""
        if pool.renew(token, now):
            self._changed(pool, now)

    def checked(self, pool: Pool, reason: str, now: float) -> None:
        """A check has passed, or failed for this reason."""
        before = pool.condition.health
        if not reason:
            pool.checkup.passed(now)
        else:
            for child in pool.checkup.failed(reason, now):
                self._orphan(child, reason, now)
        if pool.condition.health is not before:
            self._changed(pool, now)

    def late(self, pool: Pool, now: float) -> None:
        """A process has not answered its probe yet."""
        pool.late(now)
        self._changed(pool, now)

    def _changed(self, pool: Pool, now: float) -> None:
        """A server's health or era may have changed: run its waiting work or give it back, and announce the change at once."""
        if pool.condition.serves:
            self._jobs.run_waiting(pool, now)
        else:  # another bridge may run it sooner
            for job in list(pool.slots.waiting):
                self._jobs.give_back(job, "", now)
        self._intake.look(now)
        self._out.append(StatusChanged())
        if not self._member.left:
            self._member.announce(now)

    def _orphan(self, child: Child, reason: str, now: float) -> None:
        turns = child.speaker.turns
        for job in [*child.jobs.values(), *(turns.waiting if turns is not None else ())]:
            self._jobs.orphaned(job, reason, now)

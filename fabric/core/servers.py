"""The servers of one bridge: what their processes say, whether they are well, and what that means for the work they have."""

from __future__ import annotations

from collections.abc import Callable

from fabric import jsonrpc
from fabric.core.child import Child
from fabric.core.faults import Fault, Lost, Reason
from fabric.core.jobs import Jobs
from fabric.core.member import Member
from fabric.core.pool import Pool
from fabric.core.sessions import Sessions
from fabric.core.strays import adopted
from fabric.envelope import Envelope, Kind
from fabric.errors import InvalidFrame
from fabric.jsonrpc import Message, MessageKind


class Servers:
    """They are in `pools`, by name. serve: told that the health of one has changed, before that is announced."""

    def __init__(
        self, member: Member, pools: dict[str, Pool], jobs: Jobs, sessions: Sessions, serve: Callable[[float], None]
    ) -> None:
        self._member = member
        self._pools = pools
        self._jobs = jobs
        self._sessions = sessions
        self._serve = serve

    # ------------------------------------------------------------ what processes do
    def started(self, child_id: str) -> None:
        """A process runs."""
        found = self._find(child_id)
        if found is not None:
            found[0].started(found[1])

    def said(self, child_id: str, message: Message, now: float) -> None:
        """A process wrote a message, or failed to. Raises InvalidFrame where its ids cannot be swapped: see `garbled`."""
        found = self._find(child_id)
        if found is None:
            return  # of a process that is being stopped
        pool, child = found
        check = pool.checkup.under_way
        if check is not None and check.child is not child:
            check = None
        if check is not None:
            if not isinstance(message, Lost) or message.spoke:
                self.checked(pool, "", now)  # it speaks, so it is there
            elif jsonrpc.text(message.id) == check.id:
                self.checked(pool, message.fault.message, now)
        session = self._sessions.open.get(child.session) if child.session else None
        if message.kind is MessageKind.RESPONSE:
            exchange = jsonrpc.text(message.id) if message.id[:1] == b'"' else ""
            job = child.jobs.get(exchange)
            if job is None and check is None and (found_again := adopted(child, message, pool.name)) is not None:
                message, job = found_again, next(iter(child.jobs.values()))
            if job is None:
                if message.error and message.id == b"null":
                    exchange = pool.question(child)
                if (not isinstance(message, Lost) or message.spoke) and pool.probed(child, exchange, message, now):
                    self._changed(pool, now)
                pool.checkup.answered(child, exchange)
                return
            if child.open_when_told is not None and job.exchange not in child.open_when_told:
                child.open_when_told = None
            if session is not None:
                session.used = now
            if isinstance(message, Lost):
                self._jobs.lost(job, message, now)
                opening = self._sessions.open.get(job.exchange)
                if opening is not None:
                    self._sessions.end(opening, now)
            elif job.kind is Kind.OPEN:
                pool.opened(message, now)
                self._sessions.opened(job, message, now)
            else:
                self._jobs.answer(job, message.frame, now)
        elif session is not None:
            self._sessions.said(session, message, now)
        elif message.kind is MessageKind.NOTIFICATION:
            named = jsonrpc.text(jsonrpc.refers_to(message) or b'""')
            logs = message.method == "notifications/message" and now >= child.quiet_until
            job = child.jobs.get(named) if named else child.exclusive if logs else None
            # What is too large for the broker would block the lane for ever.
            if job is not None and len(message.frame) <= self._member.largest_body_bytes:
                self._member.data(
                    job.edge, now, Envelope(kind=Kind.MESSAGE, exchange=job.exchange, attempt=job.attempt, body=message.frame)
                )
        else:
            reason = f"{message.method} is not a request this client takes"
            pool.tell(child, jsonrpc.error_frame(message.id, jsonrpc.METHOD_NOT_FOUND, reason))

    def garbled(self, child_id: str, message: Message, error: InvalidFrame, now: float) -> None:
        """A server's message in which its ids cannot be swapped: an answer becomes an error, anything else goes nowhere."""
        found = self._find(child_id)
        job = (
            found[1].jobs.get(jsonrpc.text(message.id)) if found is not None and message.kind is MessageKind.RESPONSE else None
        )
        if job is not None:
            self._jobs.fault(job, Fault(Reason.INVALID, f"{job.server} sent an answer that cannot be carried: {error}"), now)

    def behind(self, child_id: str, unread_bytes: int, now: float) -> None:
        """A process reads less than is written to it: the link of its session, if there is one, is held."""
        found = self._find(child_id)
        if found is not None:
            child = found[1]
            child.behind, child.unread = True, unread_bytes
            self._sessions.pace(child, now)

    def caught_up(self, child_id: str, now: float) -> None:
        """It has read nearly all of it."""
        found = self._find(child_id)
        if found is not None:
            child = found[1]
            child.behind, child.unread = False, 0
            self._sessions.pace(child, now)

    def exited(self, child_id: str, reason: str, now: float, *, refused: bool, unsent: frozenset[str]) -> None:
        """A process has ended by itself, or never started. refused: as in Pool.exited. unsent: as in ServerExited."""
        found = self._find(child_id)
        if found is None:
            return
        pool, child = found
        for job in child.jobs.values():
            if job.exchange in unsent or not child.started:
                job.started = False
        pool.exited(child, reason, now, refused=refused)
        self._orphan(child, reason, now)
        self._sessions.exited(child, reason, now)
        self._changed(pool, now)

    # ------------------------------------------------------------ health
    def look(self, now: float) -> None:
        """The regular look: begin checks that are due, end those that are late, and stop old processes that have finished."""
        for pool in self._pools.values():
            if late := pool.checkup.look(now):
                self.checked(pool, late, now)
            for job in pool.renewal.overdue(now):
                self._jobs.give_back(job, "", now)
            if pool.clear_away(now):
                self._changed(pool, now)

    def renew(self, pool: Pool, token: str, now: float) -> None:
        """A person wants new processes for this server; asked as often as he is heard."""
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
        """A server's health or era may have changed: give its waiting work out or back, and say so at once."""
        shared = pool.shared()
        if shared is not None:
            pending, pool.pending = pool.pending, []
            for job in pending:
                self._jobs.to_shared(job, shared, pool, now)
        elif not pool.condition.serves:  # another bridge may run it sooner
            for job in list(pool.pending):
                self._jobs.give_back(job, "", now)
        self._serve(now)
        if not self._member.left:
            self._member.announce(now)

    def _find(self, child_id: str) -> tuple[Pool, Child] | None:
        pool = self._pools[child_id.rpartition("#")[0]]
        child = pool.children.get(child_id)
        return (pool, child) if child is not None else None

    def _orphan(self, child: Child, reason: str, now: float) -> None:
        for job in [*child.jobs.values(), *child.waiting]:
            self._jobs.orphaned(job, reason, now)

"""The regular checks of one server: when each is due, which process gets the request, and what its outcome means."""

from __future__ import annotations

from typing import Protocol

import msgspec

from fabric.core.bridge.processes.child import Child
from fabric.core.bridge.processes.health import Condition
from fabric.core.bridge.processes.initialized import InitializedProcesses
from fabric.core.bridge.processes.limits import ServerLimits
from fabric.core.bridge.processes.probe import Known
from fabric.mcp import requests


class Check(msgspec.Struct, frozen=True):
    """A check under way."""

    due: float
    """When it has failed, unless it passes before."""
    child: Child | None = None
    """The process that gets the request; None if a command checks the server."""
    id: str = ""
    """The id of the request."""


class CheckedServer(Protocol):
    """The part of a server's Pool that its checks need."""

    limits: ServerLimits
    children: dict[str, Child]
    condition: Condition
    known: Known
    initialized: InitializedProcesses

    def shared(self) -> Child | None:
        """See Pool.shared."""
        ...

    @property
    def harmless_to_ask(self) -> Child | None:
        """See Pool.harmless_to_ask."""
        ...

    def check(self) -> None:
        """See Pool.check."""
        ...

    def ask(self, child: Child, question: bytes) -> None:
        """See Pool.ask."""
        ...

    def refill(self, now: float) -> None:
        """See Pool.refill."""
        ...

    def spare_pings(self, child: Child, reason: str, now: float) -> None:
        """See Pool.spare_pings."""
        ...

    def give_up(self, reason: str, now: float) -> list[Child]:
        """See Pool.give_up."""
        ...


class Checkup:
    """The checks of the server whose processes are in `pool`."""

    def __init__(self, pool: CheckedServer) -> None:
        self.under_way: Check | None = None
        """The check that has neither passed nor failed yet; None for none."""
        self._pool = pool
        self._checks = pool.limits.checks
        self._next = 0.0
        self._count = 0
        self._pinged: Child | None = None  # before its handshake, until any process has answered such a ping

    def put_off(self, now: float) -> None:
        """The server has just shown that it is healthy: the next check is due after the interval."""
        self._next = now + self._checks.interval

    def look(self, now: float) -> str:
        """Begin a check that is due. Returns why the check under way has failed, if it is late; else empty."""
        if self.under_way is not None:
            if self.under_way.child is not None and self.under_way.child.behind:  # it has yet to read what comes before
                self.under_way = msgspec.structs.replace(self.under_way, due=now + self._checks.timeout)
            if now < self.under_way.due:
                return ""
            child = self.under_way.child
            if child is not None and self.minds(child):
                self._pool.spare_pings(child, f"it did not answer within {self._checks.timeout:g} s", now)
                return ""
            return f"it did not pass a check within {self._checks.timeout:g} s{self._pool.limits.last_words()}"
        condition = self._pool.condition
        due = now >= self._next and self._checks.enabled
        if due and (condition.down or (condition.serves and self._pool.children)):
            self._begin(now)
        return ""

    def _begin(self, now: float) -> None:
        pool, shared = self._pool, self._pool.shared()
        in_service = shared or pool.initialized.shared
        child = in_service or (pool.harmless_to_ask if self._checks.ping else None)
        self.put_off(now)
        if self._checks.command:
            self.under_way = Check(now + 2 * self._checks.timeout)  # the runtime bounds its time
            pool.check()
        elif child is not None and child.started and not child.behind:
            self._count += 1
            id = f"check-{self._count}"
            self.under_way = Check(now + self._checks.timeout, child, id)
            self._pinged = None if child is in_service or pool.known.pinged else child
            pool.ask(child, requests.discover(id) if child is shared else requests.ping(id))

    def minds(self, child: Child) -> bool:
        """Whether a process that has ended or is silent may have been harmed by a ping before its handshake."""
        if child is not self._pinged:
            return False
        self.under_way = self._pinged = None
        return True

    def answered(self, child: Child, id: str) -> None:
        """A process has answered a request of the bridge's own. If that is a ping, such pings do no harm."""
        if child is self._pinged and id == f"check-{self._count}":
            self._pinged = None
            self._pool.known = msgspec.structs.replace(self._pool.known, pinged=True)

    def passed(self, now: float) -> None:
        """The check under way has passed."""
        self.under_way = None
        self.put_off(now)
        self._pool.condition.passed()
        self._pool.refill(now)

    def failed(self, reason: str, now: float) -> list[Child]:
        """The check under way has failed. Returns the processes that are replaced for it; sessions keep theirs."""
        check, self.under_way = self.under_way, None
        pool, condition = self._pool, self._pool.condition
        served = condition.serves
        if check is None or not (served or condition.down) or (check.child and check.child.id not in pool.children):
            return []  # the process that got the request is gone
        self.put_off(now)
        jobs = check.child.jobs.values() if check.child else ()  # the command's judgement counts, whatever runs
        condition.failed(reason, busy=any(now - job.begun < self._checks.patience for job in jobs))
        return pool.give_up(reason, now) if served and not condition.serves else []

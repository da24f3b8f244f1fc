"""The processes of one MCP server at one bridge: a probe that becomes the shared one, a few warm ones, one for each session.

Modern requests of all clients share a process; a legacy session has one to itself. A server is healthy once it has answered the
probe; one that dies is started again, later each time.
"""

from __future__ import annotations

from collections import deque

import msgspec

from fabric.core import eras
from fabric.core.announcement import Served
from fabric.core.deadlines import Deadlines
from fabric.core.effects import CheckServer, Consume, Effect, Pause, StartServer, StopServer, Write
from fabric.core.health import Checks, Condition
from fabric.core.job import Job
from fabric.jsonrpc import Message

PROBE_TIMEOUT = 10.0
"""Seconds a started server has to answer the probe; then the legacy handshake is tried, for as long."""
RESTART_FIRST, RESTART_MOST = 0.1, 10.0
"""Seconds before a server that died is started again: doubling from the first to the most."""
STABLE_AFTER = 30.0
"""Seconds a process has to live for the next restart to be quick again."""


class ServerLimits(msgspec.Struct, frozen=True):
    """One server's settings. slots: requests from its queue at once. warm: idle processes for sessions. most: processes.

    transport: how it is reached, as in LinkInfo.
    """

    digest: str
    transport: str = "stdio"
    slots: int = 64
    warm: int = 1
    most: int = 64
    checks: Checks = Checks()


class Child:
    """One process."""

    __slots__ = ("backlog", "begun", "exclusive", "id", "jobs", "quiet_until", "session", "started", "waiting")

    def __init__(self, id: str, now: float) -> None:
        self.id = id
        self.begun = now
        self.started = False
        self.session = ""
        self.jobs: dict[str, Job] = {}
        self.backlog: list[bytes] = []  # written before it has started
        self.exclusive: Job | None = None
        self.waiting: deque[Job] = deque()  # exclusive jobs behind that one
        self.quiet_until = 0.0  # what it logs before may still be of a cancelled one


class Check(msgspec.Struct, frozen=True):
    """A check under way: a question to a process by this id, or a command; failed if it is not passed when it is due."""

    due: float
    child: Child | None = None
    id: str = ""


class Pool:
    """All processes of one server. Effects are appended to `out`."""

    def __init__(self, name: str, limits: ServerLimits, deadlines: Deadlines, out: list[Effect]) -> None:
        self.name = name
        self.limits = limits
        self.children: dict[str, Child] = {}
        self.eras: tuple[str, ...] = ()
        self.condition = Condition(limits.checks)
        self.check: Check | None = None  # under way
        self.taken = 0  # slots in use
        self.pending: list[Job] = []  # modern jobs while the shared process is started again
        self.consuming = False
        self._shared: Child | None = None
        self._warm: deque[Child] = deque()
        self._next_check = 0.0
        self._questions: dict[str, bool] = {}  # ids of those questions; whether it was the legacy one
        self._pause = RESTART_FIRST
        self._deadlines = deadlines
        self._out = out
        self._count = 0

    def describe(self, open: bool) -> Served:
        """What is announced. open: whether this bridge takes work at all."""
        free = max(0, self.limits.slots - self.taken) if open and self.condition.serves else 0
        sessions = sum(1 for child in self.children.values() if child.session)
        return Served(
            digest=self.limits.digest,
            free=free,
            eras=self.eras,
            sessions=sessions,
            children=len(self.children),
            health=self.condition.health,
            reason=self.condition.reason,
        )

    # ------------------------------------------------------------ starting
    def start(self, now: float, *, legacy: bool = False) -> None:
        """Start the process that is probed; `legacy` when it is known to die of the modern question."""
        self._deadlines.clear(f"restart {self.name}")
        self.condition.begun()
        self._shared = self._spawn(now)
        self._ask(now, legacy=legacy)

    def _spawn(self, now: float) -> Child:
        self._count += 1
        child = Child(f"{self.name}#{self._count}", now)
        self.children[child.id] = child
        self._out.append(StartServer(self.name, child.id))
        return child

    def started(self, child: Child) -> None:
        """A process runs."""
        child.started = True
        for frame in child.backlog:
            self._out.append(Write(child.id, frame))
        child.backlog = []

    def _ask(self, now: float, *, legacy: bool) -> None:
        if self._shared is not None:
            self._count += 1
            id = f"probe-{self._count}"
            self._questions[id] = legacy
            self.write(self._shared, (eras.initialize_request if legacy else eras.discover_request)(id))
            self._deadlines.set(f"probe {self.name}", now + PROBE_TIMEOUT)

    def probed(self, child: Child, id: str, answer: Message, now: float) -> bool:
        """Whether this answer was the probe's; then the server's era is known."""
        if child is not self._shared or id not in self._questions:
            return False
        legacy = self._questions.pop(id)
        found = (eras.LEGACY,) if legacy else eras.judge(answer)
        if legacy and answer.error:
            self._unhealthy(f"it answers neither server/discover nor initialize{eras.complaint(answer)}", now)
        elif found == (eras.LEGACY,) and not legacy:
            if not self._questions:
                self._ask(now, legacy=True)
        else:
            self._healthy(found, now)
        return True

    def _healthy(self, found: tuple[str, ...], now: float) -> None:
        self.eras = found
        self.condition.answered()
        self._next_check = now + self.limits.checks.interval
        self._forget_probe()
        if found == (eras.LEGACY,) and self._shared is not None:
            self.stop(self._shared)  # it has spoken to us; sessions get fresh ones
            self._shared = None
        self.refill(now)

    def opened(self, answer: Message, now: float) -> None:
        """An initialize was answered: a modern server shows only so that it speaks legacy, too."""
        if not answer.error and eras.LEGACY not in self.eras:
            self.eras = (*self.eras, eras.LEGACY)
            self.refill(now)

    def consume(self, ready: bool) -> None:
        """Take work of this server, or pause, as its health and `ready` say."""
        wanted = ready and self.condition.serves
        if wanted != self.consuming:
            self.consuming = wanted
            self._out.append(Consume(self.name) if wanted else Pause(self.name))

    def refill(self, now: float) -> None:
        """Keep the warm ones at their number."""
        if eras.LEGACY not in self.eras or not self.condition.serves:
            return
        while len(self._warm) < self.limits.warm and len(self.children) < self.limits.most:
            self._warm.append(self._spawn(now))

    # ------------------------------------------------------------ handing out
    def shared(self) -> Child | None:
        """The process modern requests share; None while there is none."""
        child = self._shared
        return child if child is not None and not self._questions and self.condition.serves else None

    def for_session(self, session: str, now: float) -> Child | None:
        """A process for a new session alone; None when there are too many."""
        if self._warm:
            child = self._warm.popleft()
        elif len(self.children) < self.limits.most:
            child = self._spawn(now)
        else:
            return None
        child.session = session
        return child

    @property
    def full(self) -> bool:
        """No process is left for another session."""
        return not self._warm and len(self.children) >= self.limits.most

    def write(self, child: Child, frame: bytes) -> None:
        """Write to a process, once it runs."""
        if child.started:
            self._out.append(Write(child.id, frame))
        else:
            child.backlog.append(frame)

    # ------------------------------------------------------------ checks
    def look(self, now: float) -> str:
        """Begin a check that is due. Returns how the one under way has failed, if it is late."""
        if self.check is not None:
            return f"it did not pass a check within {self.limits.checks.timeout:g} s" if now >= self.check.due else ""
        due = now >= self._next_check and self.limits.checks.enabled
        if due and (self.condition.down or (self.condition.serves and self.children)):
            self._begin_check(now)
        return ""

    def _begin_check(self, now: float) -> None:
        checks, child = self.limits.checks, self.shared()
        if child is None and self._warm and checks.ping:
            child = self._warm[0]
        self._next_check = now + checks.interval
        if checks.command:
            self.check = Check(now + 2 * checks.timeout)  # its runner keeps the time
            self._out.append(CheckServer(self.name))
        elif child is not None and child.started:
            self._count += 1
            id = f"check-{self._count}"
            self.check = Check(now + checks.timeout, child, id)
            self.write(child, eras.discover_request(id) if child is self._shared else eras.ping_request(id))

    def passed(self, now: float) -> None:
        """The check under way is passed."""
        self.check = None
        self._next_check = now + self.limits.checks.interval
        self.condition.passed()
        self.refill(now)

    def failed(self, reason: str, now: float) -> list[Child]:
        """The check under way has failed. Returns the processes that are replaced for it; sessions keep theirs."""
        check, self.check = self.check, None
        served = self.condition.serves
        if check is None or not (served or self.condition.down) or (check.child and check.child.id not in self.children):
            return []  # what was asked is gone
        self._next_check = now + self.limits.checks.interval
        jobs = check.child.jobs.values() if check.child else ()  # a command knows better
        self.condition.failed(reason, busy=any(now - job.begun < self.limits.checks.patience for job in jobs))
        if self.condition.serves or not served:
            return []
        given_up = [child for child in (self._shared, *self._warm) if child is not None]
        for child in list(self._warm):
            self.stop(child)
        self._stand_down(now)
        return given_up

    # ------------------------------------------------------------ ends
    def stop(self, child: Child) -> None:
        """A process is not needed any more."""
        if self.children.pop(child.id, None) is not None:
            self._out.append(StopServer(child.id))
            if child in self._warm:
                self._warm.remove(child)

    def exited(self, child: Child, reason: str, now: float, *, refused: bool = False) -> None:
        """A process ended by itself, or never started. refused: nobody is there, so that another would fare no better."""
        self.children.pop(child.id, None)
        if now - child.begun > STABLE_AFTER:
            self._pause = RESTART_FIRST
        if child is self._shared:
            self._shared = None
            asked = list(self._questions.values())
            self._forget_probe()
            if asked == [False] and child.started and not self.condition.serves:
                self.start(now, legacy=True)  # some legacy servers die of an unknown first request
            elif self.condition.serves and not asked:
                self._restart(now)
            else:
                self._unhealthy(reason, now)
        elif child in self._warm:
            self._warm.remove(child)
            if self._shared is None and eras.MODERN not in self.eras and now - child.begun < STABLE_AFTER:
                self._unhealthy(reason, now)  # where a shared process serves or is on its way, that one is the witness
        elif refused and self._shared is None and self.condition.serves:
            self._unhealthy(reason, now)

    def silent(self, now: float) -> None:
        """The probe was not answered in time."""
        if True in self._questions.values():
            self._unhealthy(f"it answered neither server/discover nor initialize within {2 * PROBE_TIMEOUT:.0f} s", now)
        else:
            self._ask(now, legacy=True)

    def _forget_probe(self) -> None:
        self._questions = {}
        self._deadlines.clear(f"probe {self.name}")

    def _unhealthy(self, reason: str, now: float) -> None:
        self.condition.ended(reason)
        self._stand_down(now)

    def _stand_down(self, now: float) -> None:
        """Have the process that is probed replaced."""
        self._forget_probe()
        if self._shared is not None:
            self.stop(self._shared)
            self._shared = None
        self._restart(now)

    def _restart(self, now: float) -> None:
        self._deadlines.set(f"restart {self.name}", now + self._pause)
        self._pause = min(2 * self._pause, RESTART_MOST)

"""The processes of one MCP server at one bridge: one that is probed and then shared, a few warm ones, one for each session.

Modern requests of all clients share a process; where the server speaks legacy alone, they go to those of initialized.py. Each
legacy session has a process to itself. A server is healthy once a process has answered the probe. A process that ends is
started again, after a longer pause each time.

Above it: jobs, sessions and server_events. Below it: the registry of all processes, the probe, checks and restarts.
"""

from __future__ import annotations

from collections import deque

import msgspec

from fabric.core.bridge.job import Job
from fabric.core.bridge.processes.checkup import Checkup
from fabric.core.bridge.processes.child import Child
from fabric.core.bridge.processes.health import Condition
from fabric.core.bridge.processes.initialized import InitializedProcesses
from fabric.core.bridge.processes.limits import ServerLimits
from fabric.core.bridge.processes.probe import Known, Step, configured
from fabric.core.bridge.processes.probing import Probing
from fabric.core.bridge.processes.registry import ProcessRegistry
from fabric.core.bridge.processes.renewal import Renewal
from fabric.core.bridge.processes.restarts import STABLE_AFTER, Restarts
from fabric.core.bridge.processes.slots import Slots
from fabric.core.bridge.snapshot import ServerProcesses
from fabric.core.bridge.speaking import choice
from fabric.core.bridge.speaking.base import Speaker
from fabric.core.bridge.timers import Timers
from fabric.core.effects import CheckServer, Complain, Consume, Effect, Pause
from fabric.core.peers.announcement import Health, Served
from fabric.mcp import eras
from fabric.mcp.jsonrpc import Message


class Pool:
    """The processes of one server, and their purposes."""

    def __init__(self, name: str, limits: ServerLimits, processes: ProcessRegistry, timers: Timers, out: list[Effect]) -> None:
        self.name = name
        self.limits = limits
        self.children: dict[str, Child] = {}
        """Its processes, by id."""
        self.eras: tuple[str, ...] = ()
        """The eras that the server speaks, as far as they are known."""
        self.modern: type[Speaker] | None = None
        """The Speaker of the process that modern clients share; None if `initialized` has the processes for them."""
        self.condition = Condition(limits.checks)
        self.slots = Slots()
        self.consuming = False
        """Whether its queue is consumed."""
        self.checkup = Checkup(self)
        self.renewal = Renewal()
        self.initialized = InitializedProcesses(self, processes.key)
        self._processes = processes
        self._probing = Probing(name, limits.start_timeout, processes, timers)
        self._restarts = Restarts(name, timers)
        self._out = out
        self._shared: Child | None = None
        self._warm: deque[Child] = deque()
        self.known = configured(limits.era)
        self._crosses = False  # legacy clients have come to a server that takes no initialize
        self._since: float | None = None  # the first start since the last answer; None if there was none
        self._excused = ""  # why a process ended that server/discover may have harmed

    def describe(self, open: bool, now: float) -> Served:
        """The announced state. open: whether this bridge takes work at all."""
        free = max(0, self.limits.slots - self.slots.taken) if open and self.condition.serves and self.room(1) else 0
        sessions = sum(1 for child in self.children.values() if child.session)
        return Served(
            digest=self.limits.digest,
            free=free,
            eras=self.eras,
            sessions=sessions,
            children=len(self.children),
            health=self.condition.health,
            reason=self.condition.reason or self._starting(now),
            restart=self.renewal.describe(self.children.values()),
        )

    def snapshot(self, now: float) -> ServerProcesses:
        """The server and its processes at this moment."""
        children = self.children.values()
        return ServerProcesses(
            health=self.condition.health,
            reason=self.condition.reason or self._starting(now),
            eras=self.eras,
            processes=len(children),
            starting=sum(1 for child in children if not child.started),
            warm=len(self._warm),
            in_sessions=sum(1 for child in children if child.session),
            retired=self.renewal.retired_count,
            behind=sum(1 for child in children if child.behind),
            unread_bytes=sum(child.unread for child in children),
            slots=self.limits.slots,
            slots_taken=self.slots.taken,
            awaiting_process=len(self.slots.waiting),
            awaiting_turn=sum(len(turns.waiting) for child in children if (turns := child.speaker.turns) is not None),
            running=sum(len(child.jobs) for child in children),
            unanswered_by_clients=sum(child.speaker.unanswered_by_clients for child in children),
            unwritten=sum(len(child.backlog) for child in children),
            **self.initialized.amounts(),
        )

    def _starting(self, now: float) -> str:
        """How long the server has been starting, for people; empty if it is not."""
        if self.condition.health is not Health.CHECKING or self._since is None:
            return ""
        return f"starting for {now - self._since:.0f} s{self.limits.last_words()}"

    # ------------------------------------------------------------ starting
    def start(self, now: float) -> None:
        """Start the process that is probed."""
        self._restarts.begun()
        self.renewal.room_made()
        self.condition.begun()
        if self._since is None:
            self._since = now
        self._probing.begin(self._spawn(now), self.known, now)

    def _spawn(self, now: float) -> Child:
        child = self._processes.start(self.name, now)
        self.children[child.id] = child
        return child

    def probed(self, child: Child, id: str, answer: Message, now: float) -> bool:
        """Handle an answer to the probe: the eras are known, or another request follows. Returns False for any other answer."""
        step = self._probing.answered(child, id, answer)
        if step is None:
            return False
        self._go_on(child, step, now)
        return True

    def question(self, child: Child) -> str:
        """The id of the only open request of the probe to this process; empty if none is open, or two are."""
        return self._probing.question(child)

    def late(self, now: float) -> None:
        """The probe was not answered in the time of one request, or of all."""
        child, step = self._probing.child, self._probing.late(now)
        if child is not None and step is not None:
            if not self._old_serve:
                self.condition.waiting()
            self._go_on(child, step, now)

    def _go_on(self, child: Child, step: Step, now: float) -> None:
        if step.failure:
            reason = f"{step.failure}{self.limits.last_words()}"
            self._complain(reason)
            if self._old_serve:
                self._keep_old(reason)
            else:
                self._unhealthy(reason, now)
        elif step.found is not None:
            self._found(child, step.found, now)

    def _found(self, child: Child, known: Known, now: float) -> None:
        self.known, self.eras, self.modern = known, known.eras, choice.for_modern_clients(known.eras)
        self._since, self._excused = None, ""
        self.condition.answered()
        self.checkup.put_off(now)
        self._probing.end()
        self._retire_old(now)
        if self.modern is None:
            self.stop(child)  # it is initialized; clients get new ones
        else:
            child.speaks(self.modern)
            self._shared = child
        self.refill(now)

    # ------------------------------------------------------------ a restart that a person asks for
    def renew(self, token: str, now: float) -> bool:
        """Have the processes of this server replaced. Returns False if the request with this token was carried out before."""
        if not self.renewal.begin(token, self.children.values()):
            return False
        self._stop_probed()
        if self._shared is not None:
            self.renewal.forget(self._shared)  # the last restart may still be making room, which this one does not need
        self._restarts.reset()
        while len(self.children) >= self.limits.max_processes and self._warm:
            self.stop(self._warm[0])
        if len(self.children) < self.limits.max_processes:
            self.start(now)
        elif self._shared is not None:
            self.renewal.make_room()
            self._retire(self._shared, now)
        else:
            self.renewal.done()  # each process belongs to a session
        return True

    @property
    def _old_serve(self) -> bool:
        """Whether a restart that a person has asked for is under way, and the old processes still serve."""
        return self.renewal.under_way and (self._shared is not None if self.modern else self.condition.serves)

    def _keep_old(self, failure: str) -> None:
        """The new process of a restart has failed: the old ones go on serving."""
        self._stop_probed()
        self._since = None
        self.renewal.failed(failure, self.children.values())

    def _retire_old(self, now: float) -> None:
        """A new process has answered: the old ones get no new work."""
        if self._shared is not None:
            self._retire(self._shared, now)
            self._shared = None
        for child in [child for child in self._warm if child.old]:
            self.stop(child)
        for child in self.initialized.children:
            if child.old:
                self._retire(child, now)
        self.renewal.done()

    def _retire(self, child: Child, now: float) -> None:
        self.renewal.retire(child, now)
        if child.speaker.turns is not None:
            for job in child.speaker.turns.dismiss():
                self.slots.wait(job)

    def clear_away(self, now: float) -> bool:
        """Stop the old processes that have no work left. Returns whether there were any."""
        finished = self.renewal.finished(now)
        for child in finished:
            self.stop(child)
            if child is self._shared:
                self._shared = None
                self.start(now)
        return self.initialized.look(now) or bool(finished)

    def opened(self, child: Child, now: float) -> None:
        """A process has opened a session: a modern server shows only so whether it speaks legacy, too."""
        child.speaker = child.speaker.settled
        if child.speaker.era == eras.MODERN:
            self.known = msgspec.structs.replace(self.known, refused=True)
            self._crosses = True
        elif eras.LEGACY not in self.eras:
            self.eras = (*self.eras, eras.LEGACY)
        else:
            return
        self.refill(now)

    def consume(self, ready: bool) -> None:
        """Consume the queue of this server, if it serves and `ready` is set; else pause."""
        wanted = ready and self.condition.serves
        if wanted != self.consuming:
            self.consuming = wanted
            self._out.append(Consume(self.name) if wanted else Pause(self.name))

    def refill(self, now: float) -> None:
        """Start warm processes until there are enough."""
        takes_sessions = eras.LEGACY in self.eras or self._crosses
        if not takes_sessions or not self.condition.serves or self._restarts.due:
            return
        while len(self._warm) < self.limits.warm and len(self.children) < self.limits.max_processes:
            self._warm.append(self._spawn(now))

    # ------------------------------------------------------------ processes for work
    def shared(self) -> Child | None:
        """The process that modern requests share; None if there is none now."""
        return self._shared if self.condition.serves and not self.renewal.making_room else None

    def issuer(self, id: str) -> Child | None:
        """The process of this id, if it can go on with calls that it has parked."""
        child = self.children.get(id)
        issues = child is not None and (child is self.shared() or self.renewal.kept(child) or child in self.initialized)
        return child if issues else None

    @property
    def harmless_to_ask(self) -> Child | None:
        """A warm process, if a request before the handshake does it no harm; other servers may end, or not answer."""
        return self._warm[0] if self._warm and self.known.early else None

    def spare_pings(self, child: Child, reason: str, now: float) -> None:
        """A ping before the handshake has harmed this process: send no more of them, and do not count this one."""
        self._complain(f"a ping before its handshake did it harm, and it gets none any more: {reason}")
        self.known = msgspec.structs.replace(self.known, early=False)
        self.checkup.put_off(now)
        if not child.session and child not in self.initialized:
            self.stop(child)
        self.refill(now)

    def for_session(self, session: str, now: float) -> Child | None:
        """A process for a new session alone; None if the server has as many as it may have."""
        child = self.process(now)
        if child is not None:
            child.session = session
            child.speaks(choice.for_legacy_session(self.eras, refused=self.known.refused))
        return child

    def process(self, now: float) -> Child | None:
        """A process that has spoken with nobody; None where the server has as many as it may have, and none is idle."""
        if self._warm:
            return self._warm.popleft()
        if len(self.children) >= self.limits.max_processes and (idle := self.initialized.idle) is not None:
            self.stop(idle)
        return self._spawn(now) if len(self.children) < self.limits.max_processes else None

    @property
    def full(self) -> bool:
        """Whether no process is left for another session."""
        return not self._warm and len(self.children) >= self.limits.max_processes and self.initialized.idle is None

    @property
    def restarting(self) -> bool:
        """Whether a process has ended too soon, so that another is started only after a while."""
        return self._restarts.due

    def room(self, size: int) -> bool:
        """Whether so many more bytes may wait for the process that requests share: any number, if none wait yet."""
        unread = self._shared.unread if self._shared is not None else sum(child.unread for child in self.initialized.children)
        waiting = self.slots.unwritten_bytes + unread
        return not waiting or waiting + size <= self.limits.unread_bytes

    def check(self) -> None:
        """Have the command run that checks this server."""
        self._out.append(CheckServer(self.name))

    def ask(self, child: Child, question: bytes) -> None:
        """Send a request of the bridge's own to a process."""
        self._processes.write(child, question)

    def tell(self, child: Child, frame: bytes) -> None:
        """Write to a process what is no request."""
        self._processes.tell(child, frame)

    def forget(self, job: Job) -> None:
        """A job that may be waiting for a process waits no more."""
        self.slots.forget(job)
        self.initialized.forget_job(job)

    # ------------------------------------------------------------ ends
    def stop(self, child: Child) -> None:
        """A process is not needed any more."""
        self.renewal.forget(child)
        self.initialized.forget(child)
        if self.children.pop(child.id, None) is not None:
            self._processes.stop(child)
        if child in self._warm:
            self._warm.remove(child)

    def exited(self, child: Child, reason: str, now: float, *, refused: bool = False) -> None:
        """A process ended by itself, or was not started. refused: the start failed, so that another would fare no better."""
        self.children.pop(child.id, None)
        self._processes.ended(child)
        self.renewal.forget(child)
        initialized = self.initialized.forget(child)
        if child.started and child.speaker.settled is not child.speaker:  # it may have ended of initialize
            self.known = msgspec.structs.replace(self.known, refused=True)
        if self.checkup.minds(child):
            self.spare_pings(child, reason, now)
            return
        if self._probing.may_have_harmed(child):
            self._probing.end(gently=True)
            self._excused = reason
            self.start(now)
            return
        self._complain(reason)
        probing = child is self._probing.child
        brief = probing or now - child.begun <= STABLE_AFTER
        if not brief:
            self._restarts.reset()
        if probing and self._old_serve:
            self._keep_old(reason)
        elif probing:
            self._probing.end()
            self._outage(reason, now, refused=refused)
        elif child is self._shared:
            self._shared = None
            if self._probing.child is None:
                self._restarts.schedule(now)
        elif child in self._warm:
            self._warm.remove(child)
            if self._alone and brief:  # else the shared process shows whether the server is healthy
                self._outage(reason, now, refused=refused)
        elif initialized:
            if self._alone and brief and child.jobs:
                self._restarts.schedule(now)
            elif self._alone and brief:
                self._outage(reason, now, refused=refused)
        elif refused and self._alone and self.condition.serves:
            self._unhealthy(reason, now)

    def _complain(self, reason: str) -> None:
        self._out += [Complain(self.name, each) for each in (self._excused, reason) if each]
        self._excused = ""

    @property
    def _alone(self) -> bool:
        """Whether there is neither a shared process, nor one being probed, nor a restart that is due."""
        return self._shared is None and self._probing.child is None and not self._restarts.due

    def _outage(self, reason: str, now: float, *, refused: bool) -> None:
        """A process without work has ended."""
        if self.eras and not refused and self._restarts.forgiven and self.condition.health is not Health.UNHEALTHY:
            self._restarts.schedule(now)
        else:
            self._unhealthy(reason, now)

    def give_up(self, reason: str, now: float) -> list[Child]:
        """Checks have brought the server down: replace its processes, but not those of sessions. Returns the replaced ones."""
        self._complain(reason)
        given_up = [child for child in (self._shared, *self._warm, *self.initialized.children) if child is not None]
        for child in (*self._warm, *self.initialized.children):
            self.stop(child)
        self._stand_down(now)
        return given_up

    def _unhealthy(self, reason: str, now: float) -> None:
        self.condition.ended(reason)
        self.renewal.done(reason)
        self._stand_down(now)

    def _stand_down(self, now: float) -> None:
        """Stop the shared process and the probed one, and have another started."""
        if self._shared is not None:
            self.stop(self._shared)
        self._stop_probed()
        self._shared = None
        self._since = None
        self._restarts.schedule(now)

    def _stop_probed(self) -> None:
        if self._probing.child is not None:
            self.stop(self._probing.child)
        self._probing.end()

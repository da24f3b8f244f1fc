"""The processes of a legacy server that the bridge itself has initialized, for modern clients, which have no sessions.

Each is initialized for one kind of client. One process serves all clients that can be asked nothing, side by side; every other
kind has as many processes as it has calls at once. A process is started, or taken from the warm ones, when a call needs it. An
idle one makes room for sessions and for other kinds, the one that was used longest ago first. Where none is idle and work
waits, the call that has been parked longest is given up.

Above it: the pool, jobs and server_events. Below it: the Speakers of such processes.
"""

from __future__ import annotations

from typing import Protocol

from fabric.core.bridge.job import Job
from fabric.core.bridge.processes.child import Child
from fabric.core.bridge.processes.limits import ServerLimits
from fabric.core.bridge.speaking.asking_calls import AskingCalls
from fabric.core.bridge.speaking.declared import Declared, declared
from fabric.core.bridge.speaking.modern_on_legacy import ModernOnLegacy
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message

IDLE = 300.0
"""Seconds that a process is kept for the next client of its kind."""
INPUT_IN_LEAST = 30.0
"""Seconds that a client has in any case to bring input to its parked call, if other work waits for a process."""


class ServerPool(Protocol):
    """The part of a server's Pool that its initialized processes need."""

    limits: ServerLimits

    @property
    def restarting(self) -> bool:
        """See Pool.restarting."""
        ...

    def process(self, now: float) -> Child | None:
        """See Pool.process."""
        ...

    def refill(self, now: float) -> None:
        """See Pool.refill."""
        ...

    def ask(self, child: Child, question: bytes) -> None:
        """See Pool.ask."""
        ...

    def tell(self, child: Child, frame: bytes) -> None:
        """See Pool.tell."""
        ...

    def stop(self, child: Child) -> None:
        """See Pool.stop."""
        ...


class InitializedProcesses:
    """The initialized processes of one server. key: authenticates the states of their parked calls."""

    def __init__(self, pool: ServerPool, key: bytes) -> None:
        self._pool = pool
        self._key = key
        self._open: dict[str, tuple[Child, ModernOnLegacy]] = {}  # by id, the one that was used longest ago first
        self._used: dict[str, float] = {}  # when each was opened, or last seen to have work, by id
        self._awaited: dict[str, Declared] = {}  # the kinds of the jobs that wait, by exchange

    # ------------------------------------------------------------ handing out
    def process_for(self, job: Job, now: float) -> Child | None:
        """The process that can run a job now; None if the job has to wait, or if none can be started: see `awaits`."""
        kind = self._awaited.pop(job.exchange, None) or declared(job.principal, jsonrpc.parse(job.body))
        starting = 0
        for child, speaker in self._open.values():
            if speaker.declared == kind and not child.old and not speaker.busy:
                if speaker.ready:
                    self._used[child.id] = now
                    self._open[child.id] = self._open.pop(child.id)
                    return child
                starting += 1
        waiting = sum(1 for each in self._awaited.values() if each == kind) if kind.exclusive else 0
        if starting > waiting or self._pool.restarting or self._begin(kind, now):
            self._awaited[job.exchange] = kind
        return None

    def awaits(self, job: Job) -> bool:
        """Whether a process is being started that can run this job."""
        return job.exchange in self._awaited

    def forget_job(self, job: Job) -> None:
        """A job waits no more."""
        self._awaited.pop(job.exchange, None)

    def _begin(self, kind: Declared, now: float) -> bool:
        child = self._pool.process(now)
        if child is None:
            return False
        speaker = child.speaks(AskingCalls if kind.exclusive else ModernOnLegacy)
        self._open[child.id] = child, speaker
        self._used[child.id] = now
        self._pool.ask(child, speaker.open(kind, self._key))
        self._pool.refill(now)
        return True

    # ------------------------------------------------------------ what they do
    @property
    def shared(self) -> Child | None:
        """The process that all clients share that can be asked nothing; None if there is none that takes work."""
        shared = (child for child, each in self._open.values() if each.ready and not each.declared.exclusive and not child.old)
        return next(shared, None)

    def failure(self, child: Child) -> str:
        """Why a process has refused its initialize, for people; empty if it has not."""
        return self._open[child.id][1].failure if child.id in self._open else ""

    def waiting_for(self, child: Child) -> set[str]:
        """The jobs that wait for a process of the kind of this one, by exchange."""
        kind = self._open[child.id][1].declared
        return {exchange for exchange, each in self._awaited.items() if each == kind}

    def notified(self, message: Message) -> list[tuple[Job, bytes]]:
        """The listeners that get a notification of any initialized process, each with its frame."""
        found = [(child, each) for child, speaker in self._open.values() for each in speaker.listeners.notified(message)]
        return [(job, frame) for child, (job, frame) in found if job.exchange in child.jobs]  # others listen elsewhere now

    def look(self, now: float) -> bool:
        """Give up parked calls whose clients stay away, and stop processes that are not needed. Whether any was stopped."""
        ended = []
        for child, speaker in self._open.values():
            for frame in speaker.expire(now):
                self._pool.tell(child, frame)
            if child.jobs or speaker.busy:
                self._used[child.id] = now
            late = not speaker.ready and now - self._used[child.id] > self._pool.limits.start_timeout
            idle = speaker.ready and now - self._used[child.id] > IDLE
            if late or idle or (speaker.stop_at and now >= speaker.stop_at):
                ended.append(child)
        for child in ended:
            self._pool.stop(child)
        return bool(ended)

    # ------------------------------------------------------------ ends
    @property
    def idle(self) -> Child | None:
        """The process that makes room first; None if all are in use."""
        return next((child for child, speaker in self._open.values() if self._idle(child, speaker)), None)

    def _idle(self, child: Child, speaker: ModernOnLegacy) -> bool:
        return speaker.ready and not speaker.busy and not child.jobs

    def make_room(self, now: float) -> None:
        """Work finds no process: give up the call that has been parked longest, unless a process is about to be idle."""
        parked = [(child, speaker) for child, speaker in self._open.values() if speaker.awaits_input_until]
        if not parked or any(speaker.stop_at for _, speaker in self._open.values()):
            return
        child, speaker = min(parked, key=lambda each: each[1].awaits_input_until)
        for frame in speaker.expire(now, INPUT_IN_LEAST):
            self._pool.tell(child, frame)

    def amounts(self) -> dict[str, int]:
        """See ServerProcesses."""
        speakers = [speaker for _, speaker in self._open.values()]
        return {
            "initialized": len(speakers),
            "questions": sum(speaker.questions for speaker in speakers),
            "listeners": sum(len(speaker.listeners) for speaker in speakers),
            "own_requests": sum(speaker.own_requests for speaker in speakers),
        }

    def forget(self, child: Child) -> bool:
        """A process has ended, or was stopped. Whether it was an initialized one."""
        self._used.pop(child.id, None)
        return self._open.pop(child.id, None) is not None

    def __contains__(self, child: Child) -> bool:
        return child.id in self._open

    @property
    def children(self) -> list[Child]:
        """All initialized processes."""
        return [child for child, _ in self._open.values()]

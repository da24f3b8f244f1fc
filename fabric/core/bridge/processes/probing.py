"""Carries out the probe of a server's newest process: writes its requests, and keeps its timer.

Above it: the pool, which acts on the result. Below it: the probe, the registry of processes, the timers.
"""

from __future__ import annotations

from fabric.core.bridge.processes.child import Child
from fabric.core.bridge.processes.probe import Known, Probe, Step
from fabric.core.bridge.processes.registry import ProcessRegistry
from fabric.core.bridge.timers import Timer, Timers
from fabric.mcp import eras
from fabric.mcp.jsonrpc import Message


class Probing:
    """The probe of one server, if one is under way. timeout: the seconds that a new process has to answer."""

    def __init__(self, server: str, timeout: float, processes: ProcessRegistry, timers: Timers) -> None:
        self._timer = (Timer.PROBE, server)
        self._timeout = timeout
        self._processes = processes
        self._timers = timers
        self._probe: Probe | None = None
        self._gently = False  # the next probe begins with initialize: the last one stuck at server/discover

    @property
    def child(self) -> Child | None:
        """The process that is probed; None if none is."""
        return self._probe.child if self._probe is not None else None

    def begin(self, child: Child, known: Known, now: float) -> None:
        """Probe a new process. known: the earlier findings about its server."""
        known, self._gently = Known(eras=(eras.LEGACY,)) if self._gently else known, False
        self._probe = Probe(child, known, now, self._timeout)
        self._processes.write(child, self._probe.begin())
        self._timers.set(self._timer, self._probe.due)

    def answered(self, child: Child, id: str, answer: Message) -> Step | None:
        """The step that follows an answer; None if it answers no request of the probe."""
        probe = self._probe
        step = probe.answered(id, answer) if probe is not None and probe.child is child else None
        if probe is not None and step is not None:
            self._carry_out(probe, step)
        return step

    def late(self, now: float) -> Step | None:
        """The step that follows when the time of one request is over, or of all; None if no process is probed."""
        if self._probe is None:
            return None
        step = self._probe.late(now)
        self._carry_out(self._probe, step)
        return step

    def _carry_out(self, probe: Probe, step: Step) -> None:
        if step.failure:
            self._gently = probe.may_have_harmed
        elif step.found is None:
            if step.write:
                self._processes.write(probe.child, step.write)
            self._timers.set(self._timer, probe.due)

    def question(self, child: Child) -> str:
        """The id of the only open request to this process; empty if none is open, or two are."""
        return self._probe.only_open if self._probe is not None and self._probe.child is child else ""

    def may_have_harmed(self, child: Child) -> bool:
        """Whether server/discover may have harmed this process; see Probe."""
        return self._probe is not None and self._probe.child is child and self._probe.may_have_harmed

    def end(self, *, gently: bool = False) -> None:
        """Ask nothing more. gently: the next probe begins with initialize."""
        self._probe = None
        self._gently = self._gently or gently
        self._timers.clear(self._timer)

"""The requests that a process runs one at a time: a modern server's log messages name no request, so only one may want them."""

from __future__ import annotations

from collections import deque

from fabric.core.bridge.job import Job

QUIET_AFTER_CANCEL = 30.0
"""Seconds for which log messages of a process are dropped after a request that asked for them was cancelled in it."""


class Turns:
    """The exclusive jobs of one process: the one that runs, and those that wait until it ends."""

    __slots__ = ("_quiet_until", "_running", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Job] = deque()
        """The jobs that wait, in order."""
        self._running: Job | None = None
        self._quiet_until = 0.0

    def enter(self, job: Job) -> bool:
        """Whether the job runs now; else it waits until `leave` returns it."""
        if self._running is not None:
            self.waiting.append(job)
            return False
        self._running = job
        return True

    def leave(self, job: Job) -> Job | None:
        """The job has ended, or does not wait any more. Returns the next job to run, if this was the one that ran."""
        if self._running is not job:
            if job in self.waiting:
                self.waiting.remove(job)
            return None
        self._running = None
        return self.waiting.popleft() if self.waiting else None

    def dismiss(self) -> list[Job]:
        """Take out the jobs that wait."""
        dismissed = list(self.waiting)
        self.waiting.clear()
        return dismissed

    def cancelled(self, job: Job, now: float) -> None:
        """The job was cancelled. The server may go on with it for a while; the next client must not get its log messages."""
        if self._running is job:
            self._quiet_until = now + QUIET_AFTER_CANCEL

    def logged_for(self, now: float) -> Job | None:
        """The job whose client gets the log messages of the process now; None for none."""
        return self._running if now >= self._quiet_until else None

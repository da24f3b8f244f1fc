"""The work of one server's queue that its bridge holds: how much it is, and what of it still waits for a process."""

from __future__ import annotations

from fabric.core.bridge.job import Job


class Slots:
    """Counts the jobs that hold a slot, and keeps those for which the shared process has to be started again."""

    def __init__(self) -> None:
        self.taken = 0
        """How many slots are in use."""
        self.unwritten_bytes = 0
        """Bytes of the jobs in them that have not been written to a process."""
        self.waiting: list[Job] = []
        """The modern jobs that wait for a shared process, in the order in which it is to run them."""

    def take(self, job: Job) -> None:
        """A job from the queue takes a slot."""
        self.taken += 1
        self.unwritten_bytes += len(job.body)

    def written(self, frame: bytes) -> None:
        """A job's request is written to a process."""
        self.unwritten_bytes -= len(frame)

    def free(self, job: Job) -> None:
        """A job from the queue has ended: its slot is free."""
        self.taken -= 1
        self.unwritten_bytes -= len(job.body)

    def wait(self, job: Job) -> None:
        """A job waits for a shared process."""
        self.waiting.append(job)

    def forget(self, job: Job) -> None:
        """A job that may be waiting waits no more."""
        if job in self.waiting:
            self.waiting.remove(job)

    def release(self) -> list[Job]:
        """The jobs that have waited for the shared process that is there now; none wait any more."""
        released, self.waiting = self.waiting, []
        return released

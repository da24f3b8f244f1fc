"""The work from one server's queue that its bridge holds: how many jobs, and which of them wait for a process."""

from __future__ import annotations

from fabric.core.bridge.job import Job


class Slots:
    """Counts the jobs of one server that hold a slot, and keeps those that wait for a shared process."""

    def __init__(self) -> None:
        self.taken = 0
        """How many slots are in use."""
        self.unwritten_bytes = 0
        """Bytes of the requests in them that have not been written to a process."""
        self.waiting: list[Job] = []
        """The modern jobs that wait for a shared process, in order."""

    def take(self, job: Job) -> None:
        """Take a slot for a job from the queue."""
        self.taken += 1
        self.unwritten_bytes += len(job.body)

    def written(self, frame: bytes) -> None:
        """A job's request is written to a process."""
        self.unwritten_bytes -= len(frame)

    def free(self, job: Job) -> None:
        """Free the slot of a job from the queue that has ended."""
        self.taken -= 1
        self.unwritten_bytes -= len(job.body)

    def wait(self, job: Job) -> None:
        """Keep a job that waits for a shared process."""
        self.waiting.append(job)

    def forget(self, job: Job) -> None:
        """Remove a job that may be waiting."""
        if job in self.waiting:
            self.waiting.remove(job)

    def release(self) -> list[Job]:
        """Take out the jobs that wait, for the shared process that is there now."""
        released, self.waiting = self.waiting, []
        return released

"""One process of an MCP server, or one connection to it, as its bridge keeps it."""

from __future__ import annotations

from collections import deque

from fabric.core.job import Job


class Child:
    """A process: what it runs, and what waits for it."""

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

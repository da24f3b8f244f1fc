"""One process of an MCP server, or one connection to it, as its bridge keeps it."""

from __future__ import annotations

from collections import deque

from fabric.core.job import Job


class Child:
    """A process: what it runs, and what waits for it."""

    __slots__ = (
        "awaits_input_until", "backlog", "begun", "behind", "exclusive", "id", "jobs", "old", "open_when_told", "quiet_until",
        "session", "started", "unread", "waiting",
    )  # fmt: skip

    def __init__(self, id: str, now: float) -> None:
        self.id = id
        self.begun = now
        self.started = False
        self.session = ""
        self.jobs: dict[str, Job] = {}
        self.backlog: list[bytes] = []  # written before it has started
        self.behind = False  # it reads less than is written to it
        self.unread = 0  # bytes that wait for it, while it is behind or has not started
        self.open_when_told: frozenset[str] | None = None  # its jobs when it was last told anything; see strays.py
        self.exclusive: Job | None = None
        self.waiting: deque[Job] = deque()  # exclusive jobs behind that one
        self.old = False  # it was there when a restart was asked for
        self.awaits_input_until = 0.0  # until then a client may come back with the input that a call asked for
        self.quiet_until = 0.0  # what it logs before may still be of a cancelled one

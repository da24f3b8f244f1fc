"""One process of an MCP server, or one connection to it, as its bridge keeps it.

Processes (registry.py) changes what stands here; its server's pool says what the process is for, and Jobs keeps its `jobs`.
"""

from __future__ import annotations

from fabric.core.bridge.job import Job
from fabric.core.bridge.speaking.base import Speaker


class Child:
    """State of one process."""

    __slots__ = (
        "_incarnation", "backlog", "begun", "behind", "id", "jobs", "old", "open_when_told", "server", "session", "speaker",
        "started", "unread",
    )  # fmt: skip

    def __init__(self, server: str, id: str, incarnation: str, now: float) -> None:
        self.server = server
        self.id = id
        """Unique at its bridge."""
        self.begun = now
        """When it was started."""
        self.started = False
        """Whether it runs, and its link is open."""
        self.session = ""
        """The legacy session that has it to itself; empty where there is none."""
        self.jobs: dict[str, Job] = {}
        """What was written to it and is not answered yet, by exchange."""
        self.backlog: list[bytes] = []
        """What was to be written before it has started."""
        self.behind = False
        """Whether it reads less than is written to it."""
        self.unread = 0
        """Bytes that wait for it, while it is behind or has not started."""
        self.open_when_told: frozenset[str] | None = None
        """The exchanges of its jobs when it was last told what is no request, until it has surely read that; see strays.py."""
        self.old = False
        """Whether it was there when a restart was asked for; Renewal says so."""
        self._incarnation = incarnation
        self.speaker = Speaker(incarnation, id, self.jobs)
        """How it is talked with; decided once it is known which clients it is for."""

    def speaks(self, speaker: type[Speaker]) -> None:
        """It is for the clients of this Speaker from now on."""
        self.speaker = speaker(self._incarnation, self.id, self.jobs)

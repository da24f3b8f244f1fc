"""The state of one process of an MCP server, or of one connection to it, at its bridge.

ProcessRegistry (registry.py) changes it; its server's pool decides what the process is for, and Jobs keeps its `jobs`.
"""

from __future__ import annotations

from typing import TypeVar

from fabric.core.bridge.job import Job
from fabric.core.bridge.speaking.base import Speaker

S = TypeVar("S", bound=Speaker)


class Child:
    """State of one process."""

    __slots__ = (
        "_incarnation", "backlog", "begun", "behind", "id", "jobs", "old", "open_at_notification", "server", "session",
        "speaker", "started", "unread",
    )  # fmt: skip

    def __init__(self, server: str, id: str, incarnation: str, now: float) -> None:
        self.server = server
        """The name of its server."""
        self.id = id
        """Unique at its bridge."""
        self.begun = now
        """When it was started."""
        self.started = False
        """Whether it runs, and its link is open."""
        self.session = ""
        """The legacy session that has it to itself; empty for none."""
        self.jobs: dict[str, Job] = {}
        """The jobs that were written to it and are not answered yet, by exchange."""
        self.backlog: list[bytes] = []
        """The frames to write once it has started."""
        self.behind = False
        """Whether it reads less than is written to it."""
        self.unread = 0
        """Bytes that wait for it, while it is behind or has not started."""
        self.open_at_notification: frozenset[str] | None = None
        """The exchanges of its jobs when a notification or response was last written to it. None once it has surely read that;
        see strays.py."""
        self.old = False
        """Whether it was there when a restart was asked for. Renewal sets it."""
        self._incarnation = incarnation
        self.speaker = Speaker(incarnation, id, self.jobs)
        """Translates for it; replaced once it is known which clients it is for."""

    def speaks(self, speaker: type[S]) -> S:
        """It is for clients of this Speaker from now on."""
        made = self.speaker = speaker(self._incarnation, self.id, self.jobs)
        return made

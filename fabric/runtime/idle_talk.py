"""What one process of a server says that nobody waits for: so much of it is read in a second, so that others have their turn.

Answers to no open request, and pings, are cheap to write and cost us the same as what is of use.
"""

from __future__ import annotations

MOST = 1_000
"""Such messages of one process that are read in a second."""
WINDOW = 1.0
"""Seconds."""


class IdleTalk:
    """Of one process. Times are seconds of one clock."""

    def __init__(self) -> None:
        self.count = 0
        self.floods = False  # it has once been more than is read
        self._begun = float("-inf")
        self._room = MOST

    def pause(self, now: float) -> float:
        """One more has come: for how long no more is read, mostly 0."""
        self.count += 1
        if now - self._begun >= WINDOW:
            self._begun, self._room = now, MOST
        self._room -= 1
        if self._room > 0:
            return 0.0
        self.floods = True
        return max(0.0, self._begun + WINDOW - now)

"""Limits how many messages of one process that nobody waits for are read in a second, so that other processes have their turn.

Answers to no open request, and pings, are cheap to write, and cost the fabric as much as useful messages.
"""

from __future__ import annotations

MOST = 1_000
"""How many such messages of one process are read in a second."""
WINDOW = 1.0
"""Seconds over which they are counted."""


class UnaskedMessages:
    """Counts those of one process. Times are seconds of one clock."""

    def __init__(self) -> None:
        self.count = 0
        """How many came in all."""
        self.floods = False
        """Whether there once came more than are read."""
        self._begun = float("-inf")
        self._room = MOST

    def pause(self, now: float) -> float:
        """Count one more. Returns for how many seconds nothing more is to be read: mostly 0."""
        self.count += 1
        if now - self._begun >= WINDOW:
            self._begun, self._room = now, MOST
        self._room -= 1
        if self._room > 0:
            return 0.0
        self.floods = True
        return max(0.0, self._begun + WINDOW - now)

"""Limits how many messages that nobody waits for are read from one process, so that others have their turn.

Pings, and answers to no open request, are cheap to write and cost the fabric as much as useful messages.
"""

from __future__ import annotations

READ_PER_WINDOW = 1_000
"""How many such messages of one process are read in a window."""
WINDOW = 1.0
"""The length of a window, in seconds."""


class UnaskedMessages:
    """Counts such messages of one process. Times are seconds of one clock."""

    def __init__(self) -> None:
        self.count = 0
        """How many messages came in all."""
        self.floods = False
        """Whether more came in a window than are read."""
        self.pause = 0.0
        """For how many seconds the process is not to be read now: mostly 0."""
        self._begun = float("-inf")
        self._room = READ_PER_WINDOW

    def came(self, now: float) -> None:
        """Count a message."""
        self.count += 1
        if now - self._begun >= WINDOW:
            self._begun, self._room = now, READ_PER_WINDOW
        self._room -= 1
        if self._room <= 0:
            self.floods = True
            self.pause = max(0.0, self._begun + WINDOW - now)

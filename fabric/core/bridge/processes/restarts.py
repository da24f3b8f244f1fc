"""Decides when a server is started again whose process has ended by itself: after a longer pause each time.

Above it: the pool. Below it: the timers of the bridge.
"""

from __future__ import annotations

from fabric.core.bridge.timers import Timer, Timers

RESTART_FIRST, RESTART_MOST = 0.1, 10.0
"""Seconds before a server whose process has ended is started again: the first time, and at most. They double each time."""
STABLE_AFTER = 30.0
"""Seconds that a process has to live, so that the next restart is quick again."""
FORGIVEN = 2
"""How many restarts in a row leave a server healthy that has served, while its callers wait. After the next it is unhealthy."""


class Restarts:
    """The restarts of one server."""

    def __init__(self, server: str, timers: Timers) -> None:
        self.due = False
        """Whether a process is to be started after a pause."""
        self._server = server
        self._timers = timers
        self._in_a_row = 0  # of processes that lived for a short time

    def schedule(self, now: float) -> None:
        """Have a process started after a pause, twice as long as the last one."""
        self.due = True
        self._timers.set((Timer.RESTART, self._server), now + min(RESTART_FIRST * 2**self._in_a_row, RESTART_MOST))
        self._in_a_row += 1

    def begun(self) -> None:
        """A process is started."""
        self.due = False
        self._timers.clear((Timer.RESTART, self._server))

    def reset(self) -> None:
        """Make the next pause the first one again."""
        self._in_a_row = 0

    @property
    def forgiven(self) -> bool:
        """Whether there were so few restarts in a row that the server stays healthy."""
        return self._in_a_row < FORGIVEN

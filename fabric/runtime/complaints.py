"""What is wrong with one server, for the log: each reason once in an outage, however often the server is tried again."""

from __future__ import annotations

import re
from collections import deque

STEADY = 60.0
"""Seconds that a server has to serve to count as well: what goes wrong then is said again."""
RELAPSES = 3
"""How often it is said again when a server serves for less than that; one that comes and goes for ever fills no log."""

_REMEMBERED = 8  # reasons of one outage; where they alternate more, some are said again
_VARYING = re.compile(r"0x[0-9a-fA-F]+|\d{2,}")  # times, process ids and addresses in what a server writes


class Complaints:
    """Of one server. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._said = deque[str](maxlen=_REMEMBERED)
        self._relapses = 0
        self._serves_since: float | None = None

    def serving(self, now: float) -> None:
        """It serves."""
        self._serves_since = now
        if self._relapses < RELAPSES:
            self._relapses += 1
            self._said.clear()

    def paused(self) -> None:
        """It does not serve any more."""
        self._serves_since = None

    def is_news(self, reason: str, now: float) -> bool:
        """Whether this is to be said: it is not what was said before in this outage, but for times and other numbers."""
        if self._serves_since is not None and now - self._serves_since >= STEADY:
            self._said.clear()
            self._relapses = 0
        alike = _VARYING.sub("#", reason)
        if alike in self._said:
            return False
        self._said.append(alike)
        return True

"""Decides which reasons about a server are logged: each once in an outage, however often the server is tried again."""

from __future__ import annotations

import re
from collections import deque

STEADY = 60.0
"""Seconds of service after which an outage is over: later reasons are logged again."""
RELAPSES = 3
"""How often reasons are logged again for a server that serves for less than that; more would fill the log."""

_REMEMBERED = 8  # reasons of one outage; if there are more, some are logged again
_VARYING = re.compile(r"0x[0-9a-fA-F]+|\d{2,}")  # times, process ids and addresses in what a server writes


class Complaints:
    """The reasons about one server. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._logged = deque[str](maxlen=_REMEMBERED)
        self._relapses = 0
        self._serves_since: float | None = None

    def serving(self, now: float) -> None:
        """The server serves."""
        self._serves_since = now
        if self._relapses < RELAPSES:
            self._relapses += 1
            self._logged.clear()

    def paused(self) -> None:
        """The server does not serve any more."""
        self._serves_since = None

    def is_news(self, reason: str, now: float) -> bool:
        """Whether to log the reason: it was not logged in this outage, apart from times and other numbers in it."""
        if self._serves_since is not None and now - self._serves_since >= STEADY:
            self._logged.clear()
            self._relapses = 0
        alike = _VARYING.sub("#", reason)
        if alike in self._logged:
            return False
        self._logged.append(alike)
        return True

"""The timers of a bridge's servers: the next step of the start of each. (jobs.py has those of exchanges.)"""

from __future__ import annotations

from enum import IntEnum

from fabric.core.deadlines import Deadlines


class Timer(IntEnum):
    """The steps that may be due for a server."""

    PROBE = 1
    """The time is over in which its new process has to answer the last request of its probe."""
    RESTART = 2
    """The server is started again."""


Timers = Deadlines[tuple[Timer, str]]
"""The deadlines of all servers of a bridge, by what is due and the server's name."""

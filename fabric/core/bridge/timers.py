"""What a bridge has deadlines for, besides the exchanges of jobs.py: the next step of a server's start."""

from __future__ import annotations

from enum import IntEnum

from fabric.core.deadlines import Deadlines


class Timer(IntEnum):
    """What is due for a server."""

    PROBE = 1
    """Its new process has to have answered the question that it was asked last."""
    RESTART = 2
    """It is started again."""


Timers = Deadlines[tuple[Timer, str]]
"""The deadlines of all servers of a bridge, by what is due and the server's name."""

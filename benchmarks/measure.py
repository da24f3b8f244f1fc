"""Measures the CPU that a tree of processes has used: user and system time, including children that have exited.

It reads the processes' own clocks, to the nanosecond, and /proc (proc_pid_stat(5)), so it needs Linux. A process counts its own
time and that of the children it has waited for, so the sum over the living processes neither loses nor doubles a child that
ends in between. A daemon that left the tree (its parent exited) is followed if it was once seen in the tree or is given as a
root.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path

_SECONDS_PER_TICK = 1 / os.sysconf("SC_CLK_TCK")

_NODE = {"MainThread": "node"}  # Node names its main thread, and so its process


def _clock(pid: int) -> int:
    """The id of a process's CPU clock, as from clock_getcpuclockid(3), which Python offers for threads only."""
    return (~pid << 3) | 2


class Tree:
    """The processes `roots` and all their descendants."""

    def __init__(self, *roots: int) -> None:
        self._roots = frozenset(roots)
        self._members = set(roots)

    def cpu(self) -> defaultdict[str, float]:
        """Seconds of CPU so far, by process name; of children that have exited with a precision of one tick (10 ms).

        Raises ProcessLookupError if a root has ended, since the CPU of its descendants would be missed silently.
        """
        seconds: dict[int, float] = {}
        names: dict[int, str] = {}
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    head, _, rest = (entry / "stat").read_text().rpartition(")")
                    own = time.clock_gettime(_clock(pid := int(entry.name)))
                except OSError:
                    continue  # it ended meanwhile
                fields = rest.split()
                parent = int(fields[1])
                names[pid] = _NODE.get(name := head.partition("(")[2], name)
                seconds[pid] = own + sum(map(int, fields[13:15])) * _SECONDS_PER_TICK
                children.setdefault(parent, []).append(pid)
        unseen = list(self._members)
        while unseen:
            unseen += [child for child in children.get(unseen.pop(), ()) if child not in self._members]
            self._members.update(unseen)
        self._members &= seconds.keys()
        if ended := self._roots - seconds.keys():
            raise ProcessLookupError(f"not alive: process {', '.join(map(str, sorted(ended)))}")
        total: defaultdict[str, float] = defaultdict(float)
        for pid in self._members:
            total[names[pid]] += seconds[pid]
        return total

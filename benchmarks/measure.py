"""The CPU that a tree of processes has used: user and system time, of children that have exited too.

Read from the processes' own clocks, to the nanosecond, and from /proc (proc_pid_stat(5)), so Linux only. A process counts its
own time and that of the children it has waited for, so the sum over the living neither loses nor doubles a child that ends in
between. A daemon that left the tree (its parent exited, so it hangs on init) is followed if it was seen in the tree once or is
named as a root.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path

_SECONDS_PER_TICK = 1 / os.sysconf("SC_CLK_TCK")

_NODE = {"MainThread": "node"}  # which gives its first thread a name of its own, and so its process


def _clock(pid: int) -> int:
    """The id of the clock of a process's CPU time, as clock_getcpuclockid(3) makes it, which Python offers for threads only."""
    return (~pid << 3) | 2


class Tree:
    """The processes `roots`, and all that descend from them."""

    def __init__(self, *roots: int) -> None:
        self._roots = frozenset(roots)
        self._members = set(roots)

    def cpu(self) -> defaultdict[str, float]:
        """Seconds of CPU since the tree began, by the names of its processes; of children that have ended to one tick (10 ms).

        Raises ProcessLookupError when a root is not alive: what it hung on would be missed without a word.
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
                    continue  # it ended while we looked
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
        if gone := self._roots - seconds.keys():
            raise ProcessLookupError(f"not alive: process {', '.join(map(str, sorted(gone)))}")
        total: defaultdict[str, float] = defaultdict(float)
        for pid in self._members:
            total[names[pid]] += seconds[pid]
        return total

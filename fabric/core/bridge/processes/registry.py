"""Starts, writes to and stops the processes of a bridge. The pool of each server decides which processes it has.

Above it: pools, jobs and sessions. Below it: the effects that the runtime performs.
"""

from __future__ import annotations

from fabric.core.bridge.processes.child import Child
from fabric.core.effects import Effect, HoldServer, ReleaseServer, StartServer, StopServer, Write


class ProcessRegistry:
    """The processes of all servers of one bridge."""

    def __init__(self, incarnation: str, out: list[Effect], key: bytes = b"") -> None:
        self.by_id: dict[str, Child] = {}
        """The processes that have not ended and were not stopped, by id."""
        self.key = key
        """A secret of this bridge."""
        self._incarnation = incarnation
        self._out = out
        self._counts: dict[str, int] = {}  # of processes that were started so far, by server

    def start(self, server: str, now: float) -> Child:
        """Start a process of a server, or connect to one."""
        count = self._counts[server] = self._counts.get(server, 0) + 1
        child = Child(server, f"{server}#{count}", self._incarnation, now)
        self.by_id[child.id] = child
        self._out.append(StartServer(server, child.id))
        return child

    def started(self, child: Child) -> None:
        """A process runs: write the frames that waited for that."""
        child.started = True
        for frame in child.backlog:
            self._out.append(Write(child.id, frame))
        child.backlog = []
        child.unread = 0

    def write(self, child: Child, frame: bytes) -> None:
        """Write to a process, once it runs."""
        if child.started:
            self._out.append(Write(child.id, frame))
            if child.behind:
                child.unread += len(frame)
        else:
            child.backlog.append(frame)
            child.unread += len(frame)

    def tell(self, child: Child, frame: bytes) -> None:
        """Write a notification or a response to a process; some servers answer these, too."""
        child.open_at_notification = frozenset(child.jobs)
        self.write(child, frame)

    def answered(self, child: Child, exchange: str) -> None:
        """A process has answered a request: it has read all notifications that were written before that."""
        if child.open_at_notification is not None and exchange not in child.open_at_notification:
            child.open_at_notification = None

    def behind(self, child: Child, unread_bytes: int) -> None:
        """A process has not read so many bytes that were written to it."""
        child.behind, child.unread = True, unread_bytes

    def caught_up(self, child: Child) -> None:
        """A process has read nearly all that was written to it."""
        child.behind, child.unread = False, 0

    def hold(self, id: str) -> None:
        """Read nothing more from a process, until `release`."""
        self._out.append(HoldServer(id))

    def release(self, id: str) -> None:
        """Read on from a process that was held."""
        self._out.append(ReleaseServer(id))

    def stop(self, child: Child) -> None:
        """Stop a process that has not ended."""
        if self.by_id.pop(child.id, None) is not None:
            self._out.append(StopServer(child.id))

    def ended(self, child: Child) -> None:
        """A process has ended by itself, or was not started."""
        self.by_id.pop(child.id, None)

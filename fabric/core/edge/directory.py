"""The servers of the fabric as one edge sees them: the bridges that serve each, and whether its work is to wait for one.

Above it: correlation.py, stalled.py, routing.py and tool_lists.py. Below it: leases and announcements (peers).
"""

from __future__ import annotations

from fabric.core.peers.announcement import Health, Role, Served
from fabric.core.peers.lease import Leases
from fabric.faults import Fault, Reason
from fabric.mcp.eras import MODERN

RESTART_PATIENCE = 10.0
"""Seconds that work waits for its server to be started again, if the server had begun it before."""


class ServerDirectory:
    """The servers of the fabric: those of the configuration, and those that living bridges announce."""

    def __init__(self, leases: Leases, configured: frozenset[str]) -> None:
        self._leases = leases
        self._configured = configured
        self._now: dict[str, list[Served]] = {}
        """The announcements of the living bridges, by server."""
        self._able: set[str] = set()
        """The servers that are not unhealthy at one bridge at least."""
        self._modern: set[str] = set()
        """The servers that answer requests without a session."""
        self._last: dict[str, float] = {}
        """When a bridge last served each server."""
        self._ill: dict[str, float] = {}
        """Since when a server is unhealthy at every bridge."""

    def look(self, now: float) -> None:
        """Read the announcements of the living bridges again."""
        self._now, self._able, self._modern = {}, set(), set()
        for _, announcement in self._leases.alive(Role.BRIDGE):
            for name, served in announcement.serves.items():
                self._now.setdefault(name, []).append(served)
                self._last[name] = now
                if served.health is not Health.UNHEALTHY:
                    self._able.add(name)
                if MODERN in served.eras:
                    self._modern.add(name)
        self._ill = {name: self._ill.get(name, now) for name in self._now if name not in self._able}

    def known(self, server: str) -> bool:
        """Whether the configuration has such a server, or a bridge serves it or has served it."""
        return server in self._configured or server in self._last

    def names(self) -> list[str]:
        """Every known server."""
        return sorted(self._configured | self._last.keys())

    def untaken(self, server: str) -> str:
        """Why no bridge takes work of this server, for people; empty if one does, though it may be busy."""
        bridges = self._now.get(server)
        if not bridges:
            return f"no bridge serves {server}"
        starting = all(served.health in (Health.CHECKING, Health.UNKNOWN) for served in bridges)
        return f"{server} has not answered yet, {bridges[0].reason or 'starting'}" if starting else ""

    def modern(self, server: str) -> bool:
        """Whether a server is known to answer requests without a session."""
        return server in self._modern

    def free(self, server: str) -> bool:
        """Whether a living bridge announces a free slot for a server."""
        return any(served.free for served in self._now.get(server, ()))

    def hopeless(self, server: str, now: float, *, begun: bool = False) -> Fault | None:
        """Why work of this server is not to wait for a bridge; None if it is. begun: its server has begun it before."""
        if server in self._able:
            return None
        self.look(now)  # no work is refused if a newer announcement would allow it
        if server in self._able:
            return None
        if bridges := self._now.get(server):
            if begun and now - self._ill[server] < RESTART_PATIENCE:
                return None
            message = f"{server} is unhealthy: {bridges[0].reason}"
            return Fault(Reason.UNAVAILABLE, message, retryable=True, retry_after=1.0)
        if self._leases.sure(now) and now - self._last.get(server, float("-inf")) > self._leases.lease:
            if server not in self._configured and server not in self._last:
                return Fault(Reason.UNKNOWN_SERVER, f"no server is named {server!r}", retryable=True)
            return Fault(Reason.NO_WORKER, f"no bridge serves {server}", retryable=True, retry_after=1.0)
        return None

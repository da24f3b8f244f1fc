"""Chooses the HTTP sessions that are evicted: few clients end their sessions, and each session keeps a process.

A session is left alone while nobody reads any of its streams and no request runs in its process. (A session that is bound to a
long link ends with that.) The more sessions are left alone, the sooner the one ends that was left alone longest. The more new
sessions and modern calls wait for a server that has no process left, the sooner one of them takes the place of such a session.
"""

from __future__ import annotations

from collections.abc import Iterable

from fabric.core.bridge.processes.pool import Pool
from fabric.core.bridge.sessions.session import Session

EVICT_AFTER = 10.0
"""Seconds that a session has to be left alone before it is evicted; fewer if much new work waits."""
EVICT_AFTER_LEAST = 1.0
"""Seconds that it has to be left alone in any case, as a client may be between two requests."""
KEPT = 128
"""How many sessions of a server may be left alone for the whole idle time; if n are, each may be for a share of KEPT / n."""
SHARE_LEAST = 60.0
"""Seconds that a session may be left alone in any case, if no new work waits for its process: a person may be thinking."""
WAITS = 2.0
"""Seconds for which new work that got no process counts as waiting; its edge sends it again within a second."""
LOOK_AGAIN = 0.25
"""Seconds from a look at the sessions of a server, if none could be evicted, to the next look, however many wait."""


class Eviction:
    """The rule for all sessions of one bridge. idle: seconds after which a session that is left alone ends in any case."""

    def __init__(self, idle: float) -> None:
        self._idle = idle
        self._looked: dict[str, float] = {}  # by server: the time of the last look after which none could be evicted
        self._waiting: dict[str, dict[str, float]] = {}  # by server: the new work that got no process, and when

    @property
    def waiting_count(self) -> int:
        """How many new sessions and modern calls lately found no process."""
        return sum(map(len, self._waiting.values()))

    def next(self, sessions: Iterable[Session], pool: Pool, work: str, now: float) -> Session | None:
        """The session to evict for new work, if no process is left; None if the work has to wait. work: its exchange.

        Called before a session is taken from its queue, and again when work is to begin: until `begun`, it counts as waiting.
        """
        waiting = self._waiting.setdefault(pool.name, {})
        waiting.pop(work, None)
        waiting[work] = now
        while now - waiting[first := next(iter(waiting))] > WAITS:
            del waiting[first]
        if now - self._looked.get(pool.name, float("-inf")) < LOOK_AGAIN:
            return None
        oldest = min(_left_alone(sessions, pool), key=_alone_since, default=None)
        if oldest is None or now - oldest.alone_since < max(EVICT_AFTER_LEAST, EVICT_AFTER / len(waiting)):
            self._looked[pool.name] = now
            return None
        return oldest

    def begun(self, server: str, work: str) -> None:
        """New work has got a process, and does not wait any more. work: its exchange."""
        self._waiting.get(server, {}).pop(work, None)

    def due(self, sessions: Iterable[Session], pool: Pool, now: float) -> list[Session]:
        """The sessions that have been left alone for longer than `allowed`."""
        left = sorted(_left_alone(sessions, pool), key=_alone_since)
        for count, session in enumerate(left):
            if now - session.alone_since <= allowed(len(left) - count, self._idle):
                return left[:count]
        return left


def allowed(left_alone: int, idle: float) -> float:
    """Seconds for which a session may be left alone, if so many of its server are."""
    return min(idle, max(SHARE_LEAST, idle * KEPT / left_alone))


def _left_alone(sessions: Iterable[Session], pool: Pool) -> list[Session]:
    """The sessions of a server that are left alone."""
    left = [session for session in sessions if session.server == pool.name and not session.bound and not session.waited_for]
    return [session for session in left if not pool.children[session.child].jobs]


def _alone_since(session: Session) -> float:
    return session.alone_since

"""Which HTTP sessions give way to others: few clients end their sessions, and each one that is left keeps a process.

A session is left alone while nobody reads any of its streams and no request runs in its process; one that is bound to a long
link ends with that. The more sessions are left alone, the sooner the one that was longest ends; and the more new ones wait for
a server that has no process left, the sooner one takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable

from fabric.core.bridge.processes.pool import Pool
from fabric.core.bridge.sessions.session import Session

EVICT_AFTER = 10.0
"""Seconds a session has to be left alone before it gives way, unless so many wait that this is too long."""
EVICT_AFTER_LEAST = 1.0
"""Seconds it has to be left alone in any case: a client may be between two requests."""
KEPT = 128
"""How many of one server may be left alone for all of the idle time; where n are, each for a share of it: KEPT / n."""
SHARE_LEAST = 60.0
"""Seconds a session may be left alone however many are, where none waits for its process: a person may be thinking."""
WAITS = 2.0
"""Seconds for which a new session that found no process is said to wait; its edge asks again within one."""
LOOK_AGAIN = 0.25
"""Seconds after a look at all sessions of a server that found none to give way before the next, however many wait."""


class Eviction:
    """The rule for all sessions of one bridge. idle: seconds after which a session that is left alone ends in any case."""

    def __init__(self, idle: float) -> None:
        self._idle = idle
        self._looked: dict[str, float] = {}  # by server: when no session was found that could give way
        self._waiting: dict[str, dict[str, float]] = {}  # by server: the new ones that found no process, and when

    @property
    def waiting_count(self) -> int:
        """How many new sessions lately found no process."""
        return sum(map(len, self._waiting.values()))

    def next(self, sessions: Iterable[Session], pool: Pool, opening: str, now: float) -> Session | None:
        """The session that gives way to a new one where no process is left; None where the new one has to wait.

        Asked before the new one is taken from its queue, and again when it is to begin: until `begun`, it counts as waiting.
        """
        waiting = self._waiting.setdefault(pool.name, {})
        waiting.pop(opening, None)
        waiting[opening] = now
        while now - waiting[first := next(iter(waiting))] > WAITS:
            del waiting[first]
        if now - self._looked.get(pool.name, float("-inf")) < LOOK_AGAIN:
            return None
        oldest = min(_left_alone(sessions, pool), key=_alone_since, default=None)
        if oldest is None or now - oldest.alone_since < max(EVICT_AFTER_LEAST, EVICT_AFTER / len(waiting)):
            self._looked[pool.name] = now
            return None
        return oldest

    def begun(self, server: str, opening: str) -> None:
        """A new session has got a process, and waits no more."""
        self._waiting.get(server, {}).pop(opening, None)

    def due(self, sessions: Iterable[Session], pool: Pool, now: float) -> list[Session]:
        """The sessions that have been left alone for longer than so many may be."""
        left = sorted(_left_alone(sessions, pool), key=_alone_since)
        for count, session in enumerate(left):
            if now - session.alone_since <= allowed(len(left) - count, self._idle):
                return left[:count]
        return left


def allowed(left_alone: int, idle: float) -> float:
    """Seconds for which a session may be left alone, when so many of its server are."""
    return min(idle, max(SHARE_LEAST, idle * KEPT / left_alone))


def _left_alone(sessions: Iterable[Session], pool: Pool) -> list[Session]:
    """The sessions of a server that are left alone."""
    left = [session for session in sessions if session.server == pool.name and not session.bound and not session.waited_for]
    return [session for session in left if not pool.children[session.child].jobs]


def _alone_since(session: Session) -> float:
    return session.alone_since

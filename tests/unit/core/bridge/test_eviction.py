"""The rule of eviction: how long abandoned sessions live depends on their number alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fabric.core.bridge.job import job_of
from fabric.core.bridge.processes.limits import ServerLimits
from fabric.core.bridge.processes.pool import Pool
from fabric.core.bridge.processes.registry import ProcessRegistry
from fabric.core.bridge.sessions.eviction import EVICT_AFTER, KEPT, LOOK_AGAIN, SHARE_LEAST, Eviction, allowed
from fabric.core.bridge.sessions.session import Session
from fabric.core.bridge.timers import Timers
from fabric.envelope import Envelope, Kind


@pytest.mark.parametrize(
    ("abandoned", "seconds"),
    [(1, 1800.0), (KEPT, 1800.0), (2 * KEPT, 900.0), (10 * KEPT, 180.0), (10**4, SHARE_LEAST), (10**6, SHARE_LEAST)],
)
def test_the_more_sessions_are_abandoned_the_sooner_each_ends(abandoned: int, seconds: float) -> None:
    assert allowed(abandoned, 1800.0) == seconds


def test_an_idle_time_below_the_least_share_is_kept() -> None:
    assert allowed(1000, 2.0) == 2.0


class NoSessions:
    """An empty table of sessions that counts how often it is examined."""

    def __init__(self) -> None:
        self.looks = 0

    def __iter__(self) -> Iterator[Session]:
        self.looks += 1
        return iter(())


def test_sessions_are_examined_a_few_times_a_second_however_many_clients_wait() -> None:
    sessions, eviction = NoSessions(), Eviction(1800.0)
    pool = Pool("s", ServerLimits(digest="d"), ProcessRegistry("b", []), Timers(), [])
    for number in range(1000):
        assert eviction.next(sessions, pool, f"new{number}", number / 1000) is None
    assert sessions.looks == 1 / LOOK_AGAIN


class Abandoned(Session):
    """A session over HTTP whose client has gone without ending it."""

    def __init__(self, pool: Pool) -> None:
        job = job_of("e", Envelope(kind=Kind.OPEN, exchange="old", server="s"), 0, 0.0, queued=True)
        child = pool.for_session("old", 0.0)
        assert child is not None
        super().__init__("old", "s", child.id, job, 0.0)
        self.jobs.clear()


def test_a_session_that_has_begun_does_not_hasten_the_end_of_others() -> None:
    pool = Pool("s", ServerLimits(digest="d", max_processes=1), ProcessRegistry("b", []), Timers(), [])
    eviction, sessions = Eviction(1800.0), [Abandoned(pool)]
    for number in range(9):
        eviction.next([], pool, f"begun{number}", EVICT_AFTER - 1.5)
        eviction.begun("s", f"begun{number}")
    assert eviction.next(sessions, pool, "new", EVICT_AFTER - 1.0) is None
    assert eviction.next(sessions, pool, "new", EVICT_AFTER) is sessions[0]

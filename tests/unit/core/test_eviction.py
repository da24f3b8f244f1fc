"""The rule of who gives way is a matter of figures alone: how many are left alone, and for how long."""

from __future__ import annotations

import pytest

from fabric.core.eviction import EVICT_AFTER, KEPT, allowed


@pytest.mark.parametrize(
    ("left_alone", "seconds"),
    [(1, 1800.0), (KEPT, 1800.0), (2 * KEPT, 900.0), (10 * KEPT, 180.0), (3000, EVICT_AFTER), (10**6, EVICT_AFTER)],
)
def test_the_more_are_left_alone_the_sooner_each_goes(left_alone: int, seconds: float) -> None:
    assert allowed(left_alone, 1800.0) == seconds


def test_an_idle_time_that_is_shorter_than_the_least_counts() -> None:
    assert allowed(1000, 2.0) == 2.0

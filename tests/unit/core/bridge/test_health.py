"""A server's condition: what degrades it, what brings it down, and how it comes back."""

from collections.abc import Callable

import pytest

from fabric.core.bridge.processes.health import Checks, Condition
from fabric.core.peers.announcement import Announcement, Health, Role, Served, decode, encode

pytestmark = pytest.mark.requirement("R07")

STEPS: dict[str, Callable[[Condition], None]] = {
    "begun": Condition.begun,
    "answered": Condition.answered,
    "+": Condition.passed,
    "-": lambda condition: condition.failed("silent", busy=False),
    "busy": lambda condition: condition.failed("silent", busy=True),
    "ended": lambda condition: condition.ended("gone"),
}
UP = ("begun", "answered")
DOWN = (*UP, "-", "-", "-")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((), Health.UNKNOWN),
        (("begun",), Health.CHECKING),
        (UP, Health.HEALTHY),
        (("begun", "ended"), Health.UNHEALTHY),
        (("begun", "ended", "begun"), Health.UNHEALTHY),
        (("begun", "ended", "begun", "answered"), Health.HEALTHY),
        ((*UP, "-"), Health.DEGRADED),
        ((*UP, "-", "-"), Health.DEGRADED),
        (DOWN, Health.UNHEALTHY),
        ((*UP, "-", "-", "+", "-", "-"), Health.DEGRADED),
        ((*UP, "-", "+"), Health.DEGRADED),
        ((*UP, "-", "+", "+"), Health.HEALTHY),
        ((*UP, "-", "+", "-", "+"), Health.DEGRADED),
        ((*UP, "busy", "busy", "busy", "busy"), Health.DEGRADED),
        ((*UP, "busy", "busy", "-"), Health.UNHEALTHY),
        ((*DOWN, "begun"), Health.UNHEALTHY),
        ((*DOWN, "answered"), Health.DEGRADED),
        ((*DOWN, "answered", "+"), Health.HEALTHY),
        ((*DOWN, "answered", "-"), Health.DEGRADED),
        ((*DOWN, "answered", "-", "-", "-"), Health.UNHEALTHY),
        ((*DOWN, "ended", "answered", "+"), Health.HEALTHY),
        ((*DOWN, "answered", "ended", "answered"), Health.HEALTHY),
        ((*UP, "-", "answered"), Health.DEGRADED),
    ],
)
def test_three_failed_checks_bring_a_server_down_and_two_passed_ones_bring_it_up(
    steps: tuple[str, ...], expected: Health
) -> None:
    condition = Condition(Checks())
    for step in steps:
        STEPS[step](condition)
    assert condition.health is expected
    assert condition.serves == (expected in (Health.HEALTHY, Health.DEGRADED))
    assert bool(condition.reason) == (expected in (Health.DEGRADED, Health.UNHEALTHY))


def test_a_server_that_needs_one_check_to_come_up_is_healthy_with_its_first_answer() -> None:
    condition = Condition(Checks(down=1, up=1))
    condition.answered()
    condition.failed("silent", busy=False)
    assert condition.health is Health.UNHEALTHY
    condition.answered()
    assert (condition.health, condition.reason) == (Health.HEALTHY, "")


def test_a_server_that_a_command_brought_down_comes_up_by_the_command_only() -> None:
    condition = Condition(Checks(command=True))
    for step in (*DOWN, "begun", "answered", "+", "-", "ended", "answered", "+"):
        STEPS[step](condition)
        assert condition.down == (condition.health is Health.UNHEALTHY)
    assert condition.health is Health.UNHEALTHY
    condition.passed()
    assert (condition.health, condition.reason) == (Health.HEALTHY, "")
    condition.failed("silent", busy=False)
    assert condition.serves  # one failed check is not enough, as ever


def test_a_health_of_a_newer_release_is_unknown() -> None:
    sent = Announcement(role=Role.BRIDGE, number=1, key="", versions=(1,), serves={"s": Served("d", health=Health.HEALTHY)})
    assert decode(encode(sent)) == sent
    newer = encode(sent).replace(b"healthy", b"radiant")
    assert decode(newer).serves["s"].health is Health.UNKNOWN

"""Worlds of health checks: a server that hangs is found and replaced; one that is only busy is not replaced."""

from __future__ import annotations

import pytest

from fabric.core.bridge.processes.health import Checks
from fabric.core.edge.correlation import Limits
from fabric.core.peers.announcement import Health
from tests.sim.http_clients import Http
from tests.sim.process import BridgeProcess
from tests.sim.running_fabric import assert_all_rules_held, last_request, running_fabric, until_answered, until_started
from tests.sim.servers import SimServer

pytestmark = pytest.mark.requirement("R07")

CHECKS = Checks()
DOWN_WITHIN = CHECKS.down * (CHECKS.interval + CHECKS.timeout) + 1.0
"""Seconds within which checks find a server that hangs."""


def health(bridge: BridgeProcess) -> Health:
    """The health of the server "tools" at a bridge."""
    return bridge.core.pools["tools"].condition.health


def shared(bridge: BridgeProcess) -> SimServer:
    """The process of "tools" that all clients of a bridge share."""
    child = bridge.core.pools["tools"].shared()
    assert child is not None
    return bridge.children[child.id]


def test_a_server_that_hangs_is_degraded_then_replaced_and_the_next_call_is_answered() -> None:
    world = running_fabric()
    bridge, client = world.bridges[0], Http(world, "c", "tools", legacy=False)
    hung = shared(bridge)
    hung.hang()
    assert world.run_until(lambda: health(bridge) is Health.DEGRADED, CHECKS.interval + CHECKS.timeout + 1.0)
    assert world.run_until(lambda: not hung.alive, DOWN_WITHIN)
    assert world.run_until(lambda: health(bridge) is Health.DEGRADED, 1.0)
    client.call("write")
    assert until_answered(world, last_request(client), 3.0) == ""
    assert world.run_until(lambda: health(bridge) is Health.HEALTHY, CHECKS.interval + 1.0)
    assert_all_rules_held(world, client)


def test_a_busy_server_that_fails_its_checks_is_degraded_and_keeps_its_call() -> None:
    world = running_fabric(limits=Limits())
    bridge, client = world.bridges[0], Http(world, "c", "tools", legacy=False)
    client.call("write", delay=0.1)
    until_started(world, last_request(client))
    busy = shared(bridge)
    busy.hang()
    world.run(DOWN_WITHIN)
    assert (health(bridge), busy.alive) == (Health.DEGRADED, True)
    busy.hangs = False
    assert world.run_until(lambda: health(bridge) is Health.HEALTHY, CHECKS.up * (CHECKS.interval + 1.0))
    client.leave()


def test_calls_avoid_a_bridge_whose_server_hangs() -> None:
    world = running_fabric(bridges=2)
    bridge, client = world.bridges[0], Http(world, "c", "tools", legacy=False)
    shared(bridge).hang()
    assert world.run_until(lambda: health(bridge) is Health.UNHEALTHY, DOWN_WITHIN)
    for _ in range(20):  # before it is back, and after
        client.call("write")
        world.run(0.02)
    assert_all_rules_held(world, client)

"""Worlds of processes that have just joined: how soon they know the others, and on whose announcements they rely."""

from __future__ import annotations

import pytest

from fabric.core.peers.lease import LEASE, SETTLE
from fabric.envelope import Kind, Pack
from tests.sim.http_clients import Http
from tests.sim.process import EdgeProcess, Process
from tests.sim.running_fabric import (
    assert_all_rules_held,
    both_brokers,
    delay_packs,
    envelopes_of,
    last_request,
    running_fabric,
    until_answered,
)
from tests.sim.world import Settings, World

ROUND_TRIP = 0.1
"""Seconds within which all processes have answered a question in a world without faults."""

pytestmark = pytest.mark.requirement("R11")


def sure(edge: EdgeProcess) -> bool:
    """Whether an edge is certain that it knows all processes."""
    return edge.core.member.leases.sure(edge.clock)


def seasoned_fabric(keeps: bool) -> World:
    """Two bridges and an edge that have seen a full lease."""
    world = running_fabric(keeps=keeps, bridges=2)
    world.run(LEASE + 0.5)
    return world


@both_brokers
def test_a_new_edge_knows_the_other_processes_as_soon_as_all_have_answered(keeps: bool) -> None:
    world = seasoned_fabric(keeps)
    fresh = world.edge()
    world.run(ROUND_TRIP)
    assert sure(fresh)
    assert fresh.core.member.leases.settled(fresh.clock)
    client = Http(world, "c", "nonesuch", legacy=False, edge=fresh)
    client.call("read")
    assert until_answered(world, last_request(client), 1.0) == "unknown_server"
    world.run(0.5)
    assert not world.violations


@both_brokers
def test_a_new_edge_that_knows_the_bridges_calls_their_servers_at_once(keeps: bool) -> None:
    world = seasoned_fabric(keeps)
    fresh = world.edge()
    assert world.run_until(lambda: sure(fresh), ROUND_TRIP)
    client = Http(world, "c", "tools", legacy=False, edge=fresh)
    client.call("write")
    assert until_answered(world, last_request(client), 1.0) == ""
    assert_all_rules_held(world, client)


@both_brokers
def test_a_server_that_has_just_been_announced_is_called_at_once(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=0)
    world.run(LEASE + 0.5)
    edge, bridge = world.edges[0], world.bridge()
    assert world.run_until(lambda: bridge.name in edge.core.member.leases.peers, ROUND_TRIP)
    client = Http(world, "c", "tools", legacy=False)
    client.call("write")
    assert until_answered(world, last_request(client), 3.0) == ""
    assert_all_rules_held(world, client)


@both_brokers
def test_a_new_edge_waits_for_a_bridge_whose_announcement_is_late(keeps: bool) -> None:
    world = seasoned_fabric(keeps)
    delay_packs(world, Kind.ANNOUNCE, world.bridges[1].name, 0.8)
    fresh = world.edge()
    world.run(0.8)
    assert not sure(fresh)
    world.run(ROUND_TRIP)
    assert sure(fresh)
    world.broker.intercept = None
    assert_all_rules_held(world)


@both_brokers
def test_a_new_edge_does_not_rely_on_processes_that_have_not_seen_a_full_lease(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    fresh = world.edge()
    world.run(LEASE - 2.0)
    assert not sure(fresh)
    assert_all_rules_held(world)


@both_brokers
def test_an_edge_that_lost_its_broker_is_sure_again_only_after_a_lease(keeps: bool) -> None:
    world = seasoned_fabric(keeps)
    fresh = world.edge()
    world.run(ROUND_TRIP)
    world.fault("restart", lasts=0.5)
    world.broker.restart(0.5)
    assert world.run_until(lambda: fresh.core.member.leases.settled(fresh.clock), 5.0)
    assert not sure(fresh)
    assert world.run_until(lambda: sure(fresh), LEASE + 1.0)
    assert_all_rules_held(world)


@both_brokers
def test_an_edge_on_its_own_settles_after_a_short_time_and_is_sure_after_a_lease(keeps: bool) -> None:
    world = World(1, Settings(keeps=keeps))
    alone = world.edge()
    world.run(SETTLE + ROUND_TRIP)
    assert alone.core.member.leases.settled(alone.clock)
    assert not sure(alone)
    world.run(LEASE)
    assert sure(alone)
    assert_all_rules_held(world)


@both_brokers
def test_a_new_edge_does_not_wait_for_a_bridge_that_has_left(keeps: bool) -> None:
    world = seasoned_fabric(keeps)
    world.fault("retire", lasts=1.0)
    leaver = world.bridges[1]
    leaver.touched.append("retire")
    leaver.retire()
    world.run(1.0)
    fresh = world.edge()
    world.run(ROUND_TRIP)
    assert sure(fresh)
    assert_all_rules_held(world)


@both_brokers
def test_only_one_of_two_bridges_that_join_at_once_with_different_definitions_reports_a_conflict(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=0)
    world.run(LEASE + 0.5)
    both = world.bridge(), world.bridge(definition="other")
    names = [bridge.name for bridge in both]

    def intercept(process: Process, pack: Pack) -> float:
        """Delay the announcements of both bridges to the others, so that neither knows of the other when it settles."""
        return SETTLE / 4 if pack.source in names and process.name != pack.source and envelopes_of(pack, Kind.ANNOUNCE) else 0.0

    world.broker.intercept = intercept
    world.run(SETTLE + 1.0)
    assert len({name for name, _ in world.conflicts}) == 1  # the runtime stops a process that reports one; the other serves

"""Worlds of a broker outage: a call that was surely not sent fails in time and never starts; a call that runs is answered."""

from __future__ import annotations

import pytest

from fabric.core.bridge.core import BridgeCore
from fabric.core.edge.core import EdgeCore
from fabric.core.edge.correlation import Limits
from fabric.core.edge.stalled import StalledExchanges
from fabric.core.peers.pair import Pairs
from fabric.envelope import Kind
from tests.sim.clients import Client, LongLink
from tests.sim.http_clients import Http
from tests.sim.invariants import finish
from tests.sim.running_fabric import (
    assert_all_rules_held,
    both_brokers,
    delay_packs,
    last_request,
    running_fabric,
    until_answered,
    until_started,
)
from tests.sim.world import Plant, World

pytestmark = pytest.mark.requirement("R11")

WAIT = Limits().broker
"""Seconds that a call waits for a broker that is away."""


def four_clients(world: World) -> list[Client]:
    """Clients of both eras, over HTTP and on long links, with one answered call each."""
    clients: list[Client] = [
        Http(world, "modern", "tools", legacy=False),
        Http(world, "legacy", "old", legacy=True),
        LongLink(world, "long", "tools", legacy=False),
        LongLink(world, "longer", "old", legacy=True),
    ]
    for client in clients:
        client.call("read")
    assert world.run_until(lambda: not any(client.unmade or client.waits for client in clients), 5.0)
    return clients


def lose_broker(world: World, seconds: float) -> None:
    """Take the broker away for these seconds, and let half a second of them pass."""
    world.fault("restart", lasts=seconds + 0.5)
    world.broker.restart(seconds)
    world.run(0.5)


@both_brokers
@pytest.mark.parametrize("tool", ["read", "write"])
def test_a_call_made_during_a_broker_outage_fails_within_ten_seconds_and_never_starts(keeps: bool, tool: str) -> None:
    world = running_fabric(keeps=keeps, bridges=2)
    clients = four_clients(world)
    lose_broker(world, 25.0)
    for client in clients:
        client.call(tool)
    requests = [last_request(client) for client in clients]
    for request in requests:
        assert until_answered(world, request, WAIT + 0.5) == "unavailable"
        assert request.answers[0].retryable
    world.run(20.0)
    assert not any(request.key in world.started for request in requests)
    for client in clients:
        client.call("write")
        assert until_answered(world, last_request(client), 3.0) == ""
    assert_all_rules_held(world, *clients)


@both_brokers
def test_a_call_made_during_a_short_broker_outage_succeeds(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    clients = four_clients(world)
    lose_broker(world, WAIT - 3.0)
    for client in clients:
        client.call("write")
    assert_all_rules_held(world, *clients)
    assert all(request.answers[0].reason == "" for client in clients for request in client.requests)


@both_brokers
def test_a_call_that_runs_through_a_broker_outage_is_answered_after_it(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, session_idle=60.0)
    clients = four_clients(world)
    for client in clients:
        client.call("write", delay=2.0)
        until_started(world, last_request(client))
    lose_broker(world, 15.0)
    assert_all_rules_held(world, *clients)
    assert all(request.answers[0].reason == "" for client in clients for request in client.requests)


@both_brokers
def test_a_write_that_waits_for_its_grant_fails_in_time_during_a_broker_outage(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, slots=1)
    client = Http(world, "c", "tools", legacy=False)
    client.call("write", delay=1.0)
    until_started(world, last_request(client))
    client.call("write")
    world.run(0.02)
    lose_broker(world, 25.0)
    assert until_answered(world, last_request(client), WAIT + 0.5) == "unavailable"
    assert last_request(client).answers[0].retryable
    world.run(20.0)
    assert last_request(client).key not in world.started
    assert_all_rules_held(world, client)


@both_brokers
def test_a_call_whose_request_the_broker_refuses_for_ten_seconds_fails(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = Http(world, "c", "tools", legacy=False)
    client.call("read")
    assert until_answered(world, last_request(client), 3.0) == ""
    world.broker.refusal = 1.0
    client.call("read")
    assert until_answered(world, last_request(client), WAIT + 0.5) == "unavailable"
    assert last_request(client).answers[0].retryable
    world.broker.refusal = 0.0
    world.run(2.0)
    assert last_request(client).key not in world.started
    assert_all_rules_held(world, client)


@both_brokers
def test_a_new_edge_without_a_broker_does_not_report_a_session_as_lost(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2, session_idle=60.0)
    client = Http(world, "c", "old", legacy=True, edge=world.edges[0])
    client.call("read")
    assert world.run_until(lambda: not (client.unmade or client.waits), 3.0)
    lose_broker(world, 25.0)
    for edge in world.edges:
        edge.kill()
    fresh = world.edge()
    client.call("write")
    assert world.run_until(lambda: last_request(client).edge is fresh and bool(last_request(client).answers), WAIT + 1.5)
    assert (last_request(client).answers[0].reason, last_request(client).answers[0].retryable) == ("unavailable", True)
    world.run(20.0)
    client.call("write")
    assert until_answered(world, last_request(client), 3.0) == ""
    assert_all_rules_held(world, client)


@both_brokers
def test_a_new_edge_that_loses_its_broker_before_it_knows_the_bridges_reports_no_session_as_lost(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=1, session_idle=60.0)
    client = Http(world, "c", "old", legacy=True)
    client.call("read")
    assert world.run_until(lambda: not (client.unmade or client.waits), 3.0)
    delay_packs(world, Kind.ANNOUNCE, world.bridges[0].name, None)
    world.edges[0].kill()
    fresh = world.edge()
    world.run(0.3)
    client.call("write")
    world.run(0.1)
    lose_broker(world, 25.0)
    world.broker.intercept = None
    assert world.run_until(lambda: last_request(client).edge is fresh and bool(last_request(client).answers), WAIT + 1.5)
    assert (last_request(client).answers[0].reason, last_request(client).answers[0].retryable) == ("unavailable", True)
    world.run(20.0)
    client.call("write")
    assert until_answered(world, last_request(client), 3.0) == ""
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- planted bugs
class Impatient(StalledExchanges):
    """A request that may have been sent counts as not sent."""

    def overdue(self, now: float) -> None:
        for exchange in self._router.exchanges.values():
            exchange.sent_attempts = 0
        super().overdue(now)


class NotWithdrawn(Pairs):
    """A request that was answered stays in the lane."""

    def withdraw(self, peer: str, number: int) -> None: ...


def a_sent_request_called_unsent(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.stalled.__class__ = Impatient


def an_answered_request_left_in_the_lane(core: EdgeCore | BridgeCore) -> None:
    core.member.pairs.__class__ = NotWithdrawn


@pytest.mark.parametrize(
    "plant", [a_sent_request_called_unsent, an_answered_request_left_in_the_lane], ids=lambda plant: plant.__name__
)
def test_a_planted_bug_reports_a_started_call_as_retryable(plant: Plant) -> None:
    world = running_fabric(bridges=2, plant=plant)
    clients = four_clients(world)
    for client in clients:
        client.call("read", delay=13.0)
        until_started(world, last_request(client))
    lose_broker(world, 12.0)
    for client in clients:
        client.call("write")
    finish(world, clients)
    assert any("called retryable" in violation for violation in world.violations)

"""Worlds of brokers that lose, double, redeliver, reorder or refuse messages, stall or restart. Each test names its rule."""

from __future__ import annotations

import pytest

from fabric.core.peers.lease import LEASE
from fabric.envelope import Kind
from tests.sim.clients import LongLink
from tests.sim.http_clients import Http
from tests.sim.running_fabric import (
    assert_all_rules_held,
    both_brokers,
    delay_packs,
    last_request,
    no_process_was_given_up,
    running_fabric,
    until_answered,
    until_started,
)

pytestmark = pytest.mark.requirement("R11")


@pytest.mark.requirement("D01")
def test_no_call_starts_twice_when_the_broker_drops_acks_and_redelivers() -> None:
    world = running_fabric(keeps=True, bridges=2)
    world.broker.ack_loss = 1.0
    client = Http(world, "c", "tools", legacy=False)
    for _ in range(4):
        client.call("write", delay=0.3)
    until_started(world, client.requests[0])
    for _ in range(20):
        for bridge in world.bridges:
            world.broker.redeliver(bridge)
        world.run(0.02)
    world.after(2.0, setattr, world.broker, "ack_loss", 0.0)
    assert_all_rules_held(world, client)
    assert all(request.answers[0].reason == "" for request in client.requests)


@both_brokers
def test_no_call_starts_or_is_answered_twice_when_every_message_is_delivered_twice(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2)
    world.broker.doubling = 1.0
    clients = [Http(world, "modern", "tools", legacy=False), Http(world, "legacy", "old", legacy=True)]
    for client in clients:
        for tool in ("write", "read", "write"):
            client.call(tool, delay=0.1, progress=3)
    assert_all_rules_held(world, *clients)
    assert all(request.answers[0].reason == "" for client in clients for request in client.requests)


@both_brokers
def test_an_answer_lost_in_a_broker_restart_is_sent_again(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = Http(world, "c", "tools", legacy=False)
    client.call("write", delay=0.2)
    until_started(world, last_request(client))
    world.run(0.2008)  # the answer has just left the bridge
    world.fault("restart", lasts=0.5)
    world.broker.restart(0.05)
    assert until_answered(world, last_request(client), 3.0) == ""
    assert_all_rules_held(world, client)
    assert no_process_was_given_up(world)


@both_brokers
def test_no_call_is_lost_when_the_broker_restarts_empty(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, slots=1)
    clients = [Http(world, f"c{number}", "tools", legacy=False) for number in range(4)]
    for client in clients:
        client.call("write", delay=0.3)
    world.run(0.2)
    world.fault("restart", lasts=0.4)
    world.broker.restart(0.05)
    assert_all_rules_held(world, *clients)
    assert all(last_request(client).answers[0].reason == "" for client in clients)


@both_brokers
def test_no_process_gives_up_another_during_a_broker_stall_of_five_seconds(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2, bridges=2)
    clients = [Http(world, "modern", "tools", legacy=False), LongLink(world, "legacy", "old", legacy=True)]
    world.run(0.2)
    for client in clients:
        client.call("write", delay=0.5)
    world.run(0.1)
    world.fault("stall", lasts=5.0)
    world.broker.stalled_until = world.now + 5.0
    assert_all_rules_held(world, *clients)
    assert no_process_was_given_up(world)
    assert all(request.answers[0].reason == "" for client in clients for request in client.requests)


@both_brokers
def test_a_bridge_that_dies_during_a_broker_stall_is_given_up_within_one_lease_of_recovery(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = Http(world, "c", "tools", legacy=False)
    client.call("write", delay=2.0)
    bridge = until_started(world, last_request(client))
    world.fault("stall", lasts=5.0)
    world.broker.stalled_until = world.now + 5.0
    world.run(1.0)
    bridge.kill()
    world.run(4.0)
    world.bridge()
    assert until_answered(world, last_request(client), LEASE + 0.6) == "outcome_unknown"
    assert_all_rules_held(world, client)


@both_brokers
def test_one_percent_of_message_loss_delays_no_answer_and_no_process_is_given_up(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2, bridges=2)
    world.broker.loss = 0.01
    clients = [Http(world, "modern", "tools", legacy=False), LongLink(world, "legacy", "old", legacy=True)]
    for _ in range(60):
        for client in clients:
            client.call("write", delay=0.05)
        world.run(0.5)
    assert world.faults["loss"] > 3
    assert no_process_was_given_up(world)
    assert all(request.answers[0].at - request.posted < 3.0 for client in clients for request in client.requests)
    world.broker.loss = 0.0
    assert_all_rules_held(world, *clients)


@both_brokers
@pytest.mark.requirement("D05", "P05")
def test_calls_of_a_session_start_in_order_though_the_broker_reorders_messages(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = LongLink(world, "c", "old", legacy=True)
    world.run(0.3)
    world.broker.reordering = 0.5
    for _ in range(20):
        client.call("write", delay=0.4, progress=8)
        world.run(0.01)
    keys = [request.key for request in client.requests if request.key]
    assert_all_rules_held(world, client)
    assert [key for key in world.started if key in keys] == keys


def test_a_copy_delivered_between_an_answer_and_its_acknowledgement_takes_no_slot() -> None:
    world = running_fabric(keeps=True)
    world.broker.ack_loss = 1.0
    client = Http(world, "c", "tools", legacy=False)
    client.call("read")
    world.run(0.5)
    delay_packs(world, Kind.ANSWER, world.bridges[0].name, 0.5)
    client.call("write", delay=0.1)
    until_started(world, last_request(client))
    world.run(0.11)  # the answer is on its way
    world.broker.redeliver(world.bridges[0])
    world.run(1.5)
    assert not world.bridges[0].core.jobs.open
    world.broker.ack_loss = 0.0
    world.broker.intercept = None
    assert_all_rules_held(world, client)


@both_brokers
def test_a_request_that_the_broker_refused_while_all_bridges_were_full_is_sent_again_soon(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, slots=1)
    client = Http(world, "c", "tools", legacy=False)
    client.call("write", delay=1.0)
    until_started(world, last_request(client))
    world.broker.refusal = 1.0
    client.call("write")
    world.run(0.05)
    world.broker.refusal = 0.0
    world.run(1.0)
    assert until_answered(world, last_request(client), 1.5) == ""
    assert_all_rules_held(world, client)


def test_a_bridge_acknowledges_no_copy_of_held_work_before_the_edge_knows_that_it_holds_it() -> None:
    world = running_fabric(keeps=True)
    first = world.bridges[0]
    client = Http(world, "c", "tools", legacy=False)
    client.call("read")
    world.run(0.5)
    delay_packs(world, Kind.TAKEN, first.name, None)
    client.call("write")
    world.run(0.1)
    for _ in range(3):
        world.broker.redeliver(first)
        world.run(0.05)
    world.fault("kill bridge", lasts=0.0)
    world.bridge()
    first.kill()
    assert until_answered(world, last_request(client), LEASE + 1.0) == ""
    assert_all_rules_held(world, client)


@both_brokers
def test_queued_work_of_a_dead_edge_does_not_delay_calls_of_another_edge(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2, slots=1)
    dying, living = world.edges
    crowd = [Http(world, f"crowd{number}", "tools", legacy=False, edge=dying) for number in range(20)]
    client = Http(world, "c", "tools", legacy=False, edge=living)
    for each in [*crowd, client]:
        each.call("read")
    world.run(3.0)
    for each in crowd:
        each.call("write", delay=5.0)
    world.run(0.01)
    world.fault("kill edge", lasts=0.0)
    dying.kill()
    client.call("write")
    assert until_answered(world, last_request(client), 2 * LEASE) == ""
    assert_all_rules_held(world, client, *crowd)

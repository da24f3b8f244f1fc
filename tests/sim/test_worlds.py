"""Worlds of delivery: bridges that die, wake, join or leave; edges; deadlines; work that is delivered twice."""

from __future__ import annotations

import msgspec
import pytest

from fabric.core.edge.correlation import RUNS_MOST, Limits
from fabric.core.events import PackArrived
from fabric.core.peers.lease import LEASE
from fabric.envelope import Kind, Pack
from tests.sim.clients import LongLink
from tests.sim.http_clients import Http
from tests.sim.process import Process
from tests.sim.running_fabric import (
    assert_all_rules_held,
    both_brokers,
    delay_packs,
    envelopes_of,
    last_request,
    no_process_was_given_up,
    running_fabric,
    until_answered,
    until_started,
)

DEFERRED = {
    "two edges move one session at once, and one after the other": "sessions do not move yet",
    "a bridge that wakes as the owner of a session that has moved": "sessions do not move yet; here the session ends",
    "a server request with id 0 on both sides of a move": "sessions do not move yet; two sessions at once are shown",
    "a planted ignored epoch": "epochs count moves; an ignored generation is planted instead",
}
"""Worlds of the specification that wait for sessions to move, each with the reason."""

pytestmark = pytest.mark.requirement("R11")


# ---------------------------------------------------------------- bridges
@both_brokers
@pytest.mark.requirement("D01")
def test_a_killed_bridge_loses_its_started_write_within_the_lease_and_its_other_calls_run_elsewhere(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, slots=4)
    client = Http(world, "c", "tools", legacy=False)
    client.call("read")
    world.run(0.5)
    client.call("write", delay=1.0)
    started = last_request(client)
    bridge = until_started(world, started)
    client.call("read", delay=0.5)
    again = last_request(client)
    delay_packs(world, Kind.TAKEN, bridge.name, None)
    client.call("write", delay=0.5)
    given = last_request(client)
    world.run(0.02)
    world.fault("kill bridge", lasts=0.0)
    killed = world.now
    bridge.kill()
    world.bridge()
    assert until_answered(world, started, LEASE + 1.0) == "outcome_unknown"
    assert started.answers[0].at - killed < LEASE + 0.5
    assert until_answered(world, again, 3.0) == ""
    assert until_answered(world, given, 3.0) == ""
    assert_all_rules_held(world, client)
    assert len(world.started[again.key]) <= 2


@both_brokers
@pytest.mark.requirement("R10")
def test_old_answers_of_a_bridge_that_wakes_after_ten_seconds_reach_no_client(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, slots=2)
    clients = [Http(world, "modern", "tools", legacy=False), LongLink(world, "legacy", "old", legacy=True)]
    world.run(0.5)
    for client in clients:
        client.call("write", delay=0.5)
    stopped = until_started(world, last_request(clients[0]))
    until_started(world, last_request(clients[1]))
    for _ in range(3):
        clients[0].call("write")
        clients[0].call("read")
    world.run(0.004)
    world.fault("freeze", lasts=10.0)
    stopped.touched.append("freeze")
    stopped.freeze()
    world.after(2.0, world.bridge)
    world.run(10.0)
    answered = {request: len(request.answers) for client in clients for request in client.requests}
    stopped.thaw()
    world.run(2.0)
    assert all(len(request.answers) == count for request, count in answered.items() if count)
    clients[0].call("write")
    assert_all_rules_held(world, *clients)


@both_brokers
def test_a_bridge_given_up_by_mistake_starts_no_call_twice(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = Http(world, "c", "tools", legacy=False)
    client.call("read")
    world.run(0.5)
    bridge = world.bridges[0]
    bridge.touched.append("muteness")
    world.fault("muteness", lasts=5.0)
    world.broker.cut_off(bridge, 5.0, deaf=False, mute=True)
    client.call("write", delay=0.1)
    client.call("read", delay=0.1)
    world.run(5.0)
    assert not no_process_was_given_up(world)
    for request in client.requests:
        assert until_answered(world, request, 3.0) == ""
    assert_all_rules_held(world, client)


@both_brokers
def test_a_silent_bridge_learns_that_it_was_given_up_and_frees_its_slots(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, slots=1)
    bridge, client = world.bridges[0], Http(world, "c", "tools", legacy=False)
    client.call("read")
    world.run(0.5)
    lanes_pass = [True]

    def without_grants(process: Process, pack: Pack) -> float | None:
        if envelopes_of(pack, Kind.GRANT):  # the bridge holds an attempt, its `taken` is acknowledged, and it waits
            world.after(0.0, process.feed, PackArrived(msgspec.structs.replace(pack, envelopes=())))
            return None
        return 0.0 if lanes_pass[0] or pack.source != bridge.name else None

    world.broker.intercept = without_grants
    client.call("write")
    world.run(1.0)
    bridge.touched.append("cut off")
    lanes_pass[0] = False
    world.run(LEASE + 1.5)
    assert bridge.core.member.pairs.get(world.edges[0].name).quiet
    world.broker.intercept = None
    assert until_answered(world, last_request(client), 3.0) == "outcome_unknown"
    client.call("write")
    assert until_answered(world, last_request(client), 3.0) == ""
    assert_all_rules_held(world, client)


@both_brokers
def test_a_new_bridge_answers_a_call_before_the_edge_has_its_announcement(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, slots=1)
    client = Http(world, "c", "tools", legacy=False)
    client.call("read", delay=1.0)
    until_started(world, last_request(client))
    client.call("write")
    world.run(0.01)
    newcomer = world.bridge()
    delay_packs(world, Kind.ANNOUNCE, newcomer.name, None, to=world.edges[0].name)
    newcomer.touched.append("cut off")
    assert until_answered(world, last_request(client), 3.0) == ""
    world.broker.intercept = None
    assert_all_rules_held(world, client)


@both_brokers
def test_a_bridge_whose_taken_message_comes_late_starts_no_call_that_another_has_run(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2)
    first, second = world.bridges
    client = Http(world, "c", "tools", legacy=False)
    client.call("read")
    world.run(0.5)
    delay_packs(world, Kind.TAKEN, first.name, 1.2)
    for _ in range(6):
        client.call("write", delay=0.1)
    world.run(0.7)
    assert_all_rules_held(world, client)
    assert all(len(world.started[request.key]) == 1 for request in client.requests[1:])
    assert all(request.answers[0].reason == "" for request in client.requests)
    assert second.alive


@both_brokers
def test_a_goodbye_that_overtakes_a_taken_message_leads_to_one_start_at_another_bridge(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    leaver = world.bridges[0]
    client = Http(world, "c", "tools", legacy=False)
    client.call("read")
    world.run(0.5)
    delay_packs(world, Kind.TAKEN, leaver.name, 1.0)
    client.call("write", delay=0.1)
    world.run(0.02)
    leaver.touched.append("retire")
    world.bridge()
    leaver.leave()
    assert until_answered(world, last_request(client), 3.0) == ""
    world.run(2.0)
    assert_all_rules_held(world, client)
    assert leaver.name not in world.started[last_request(client).key]


@both_brokers
def test_late_messages_of_a_dead_bridge_change_no_answer(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2)
    client = Http(world, "c", "tools", legacy=False)
    client.call("write", delay=0.1)
    bridge = until_started(world, last_request(client))
    world.fault("late flush", lasts=6.0)
    world.broker.cut_off(bridge, 6.0, deaf=False, mute=True)
    world.run(0.2)  # the answer is in a buffer of the bridge
    bridge.kill(late=True)
    assert until_answered(world, last_request(client), LEASE + 1.0) == "outcome_unknown"
    world.run(7.0)
    assert_all_rules_held(world, client)
    assert len(last_request(client).answers) == 1


@both_brokers
@pytest.mark.requirement("D01")
def test_a_rolling_restart_of_the_only_bridge_loses_no_call(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = Http(world, "c", "tools", legacy=False)
    for round in range(60):
        client.call("write" if round % 2 else "read", delay=0.1)
        if round % 20 == 10:
            world.fault("retire", lasts=0.5)
            world.bridge()
            world.after(0.3, world.bridges[0].retire)
        world.run(0.1)
    assert_all_rules_held(world, client)
    assert len([process for process in world.processes if not process.alive]) == 3
    assert all(request.answers[0].reason == "" for request in client.requests)


@both_brokers
def test_full_bridges_return_work_until_one_has_room(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2, slots=1)
    client = Http(world, "c", "tools", legacy=False)
    for number in range(12):
        client.call("write" if number % 2 else "read", delay=0.4)
    assert_all_rules_held(world, client)
    assert all(request.answers[0].reason == "" for request in client.requests)
    assert max(request.answers[0].at for request in client.requests) < 12.0


@both_brokers
def test_a_call_that_kills_its_servers_is_started_three_times_even_where_other_calls_end_with_it(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client, other = (Http(world, name, "tools", legacy=False) for name in ("c", "o"))
    other.call("write", delay=5.0)
    until_started(world, last_request(other))
    client.call("read", poison=True, delay=0.1)
    while not last_request(client).answers and world.now < 20.0:
        world.run(0.01)
        if not other.waits:
            other.call("write", delay=5.0)
    assert last_request(client).answers[0].reason == "unavailable"
    assert len(world.started[last_request(client).key]) == RUNS_MOST
    assert_all_rules_held(world, client, other)


def test_a_start_that_failed_counts_though_the_call_has_been_sent_again() -> None:
    world = running_fabric(bridges=2)
    [edge] = world.edges
    client = Http(world, "c", "tools", legacy=False)
    client.call("read")
    assert until_answered(world, last_request(client), 1.0) == ""

    def late(process: Process, pack: Pack) -> float | None:
        """Whatever a bridge says of the call comes when that has been sent again."""
        return 0.6 if process is edge and pack.generation and pack.envelopes else 0.0

    world.broker.intercept = late
    client.call("read", poison=True, delay=0.1)
    assert until_answered(world, last_request(client), 5.0) == "unavailable"
    assert len(world.started[last_request(client).key]) <= RUNS_MOST + 1
    world.broker.intercept = None
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- edges and clients
@both_brokers
def test_a_call_cancelled_in_the_queue_does_not_start_when_a_bridge_joins(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, slots=1)
    client = LongLink(world, "c", "tools", legacy=False)
    client.call("write", delay=1.0)
    until_started(world, last_request(client))
    client.call("write", cancel_after=0.1)
    cancelled = last_request(client)
    world.run(0.1)
    world.bridge()
    world.run(0.0005)
    assert_all_rules_held(world, client)
    assert cancelled.key not in world.started
    assert not cancelled.answers


@both_brokers
def test_an_edge_serves_calls_in_its_first_second(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    fresh = world.edge()
    client = Http(world, "c", "tools", legacy=False, edge=fresh)
    client.call("write")
    client.call("read")
    assert_all_rules_held(world, client)
    assert all(request.answers[0].reason == "" and request.answers[0].at < 3.0 for request in client.requests)


@both_brokers
def test_an_edge_without_a_broker_holds_a_call_until_the_broker_comes(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    world.fault("restart", lasts=2.0)
    world.broker.restart(2.0)
    client = Http(world, "c", "tools", legacy=False, edge=world.edge())
    client.call("write")
    assert_all_rules_held(world, client)
    assert last_request(client).answers[0].reason == ""


@both_brokers
def test_an_edge_that_dies_unannounced_leaves_no_state_behind(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=1)
    delay_packs(world, Kind.ANNOUNCE, "edge3", None)
    edge = world.edge()
    assert edge.name == "edge3"
    clients = [Http(world, "http", "old", legacy=True, edge=edge), LongLink(world, "long", "old", legacy=True, edge=edge)]
    modern = Http(world, "modern", "tools", legacy=False, edge=edge)
    modern.call("write", delay=1.0)
    world.run(0.1)
    world.fault("kill edge", lasts=0.0)
    edge.kill()
    assert_all_rules_held(world, modern, *clients)


@pytest.mark.parametrize("bridges", [1, 2])
def test_calls_are_answered_though_the_clocks_of_processes_are_a_thousand_seconds_apart(bridges: int) -> None:
    world = running_fabric(edges=2, bridges=bridges)
    for number, process in enumerate(world.processes):
        process._skew += 1000.0 * number
        process._schedule()
    client = Http(world, "c", "tools", legacy=False, roams=True)
    for _ in range(10):
        client.call("write", delay=0.2)
        world.run(0.5)
    assert_all_rules_held(world, client)
    assert all(request.answers[0].reason == "" for request in client.requests)


@both_brokers
def test_a_new_bridge_with_another_definition_of_a_server_reports_a_conflict_and_takes_no_work(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    world.run(3.0)
    newcomer = world.bridge(definition="another")
    client = Http(world, "c", "tools", legacy=False)
    for _ in range(20):
        client.call("write")
        world.run(0.1)
    assert {name for name, _ in world.conflicts} == {newcomer.name}
    assert world.bridges[0].name in world.conflicts[0][1]
    assert all(newcomer.name not in bridges for bridges in world.started.values())
    world.conflicts.clear()
    newcomer.kill()
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- deadlines
@both_brokers
@pytest.mark.requirement("D06")
def test_a_call_that_no_bridge_takes_ends_at_its_deadline_and_never_starts(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, slots=1, limits=Limits(idle=3.0, absolute=6.0))
    world.fault("slow server", lasts=30.0)
    holder = LongLink(world, "holder", "tools", legacy=False)
    holder.call("read", delay=5.5, progress=10)
    until_started(world, last_request(holder))
    client = Http(world, "c", "tools", legacy=False)
    client.call("write")
    waiting = last_request(client)
    assert until_answered(world, waiting, 4.0) == "overloaded"
    assert waiting.answers[0].retryable
    world.run(8.0)
    assert waiting.key not in world.started
    assert last_request(holder).answers[0].reason == ""  # its progress has kept it alive beyond the idle time


@pytest.mark.requirement("D06")
def test_a_started_write_ends_as_outcome_unknown_at_its_deadline_and_a_read_as_deadline() -> None:
    world = running_fabric(limits=Limits(idle=2.0, absolute=5.0))
    client = Http(world, "c", "tools", legacy=False)
    client.call("write", delay=30.0)
    assert until_answered(world, last_request(client), 3.0) == "outcome_unknown"
    client.call("read", delay=30.0, progress=20)
    assert until_answered(world, last_request(client), 6.0) == "deadline"
    world.run(1.0)
    assert not world.bridges[0].core.jobs.open


@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "legacy"])
def test_the_deadline_heap_stays_small_after_thousands_of_answered_exchanges(legacy: bool) -> None:
    world = running_fabric(slots=64, limits=Limits(idle=3600.0, absolute=36000.0))
    client = LongLink(world, "c", "old", legacy=True) if legacy else Http(world, "c", "tools", legacy=False)
    world.run(0.5)
    client.call("read", delay=60.0)  # its deadline stays the earliest
    rounds = 50 if legacy else 500  # a client on a long link looks through all its requests at each answer
    for _ in range(rounds):
        for _ in range(20):
            client.call("read")
        world.run(0.05)
    world.run(1.0)
    assert sum(len(request.answers) for request in client.requests if request.tool) == 20 * rounds
    core = world.edges[0].core
    now = core.snapshot(world.edges[0].clock)
    assert now.deadlines == 1
    assert now.stale_deadlines < 200
    assert_all_rules_held(world, client)

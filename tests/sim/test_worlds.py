"""The worlds of delivery: bridges that die or wake, edges, deadlines, and work given twice. Each named by what must hold."""

from __future__ import annotations

import msgspec
import pytest

from fabric.core.edge.correlation import Limits
from fabric.core.events import PackArrived
from fabric.core.peers.lease import LEASE
from fabric.envelope import Kind, Pack
from tests.sim.clients import LongLink
from tests.sim.http_clients import Http
from tests.sim.process import Process
from tests.sim.running_fabric import (
    assert_all_rules_held,
    delay_packs,
    envelopes_of,
    last,
    nobody_was_given_up,
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
"""Worlds of the rules that wait for what they are about."""

both_kinds = pytest.mark.parametrize("keeps", [False, True], ids=["forgets", "keeps"])
pytestmark = pytest.mark.requirement("R11")


# ---------------------------------------------------------------- bridges
@both_kinds
@pytest.mark.requirement("D01")
def test_a_bridge_killed_just_after_a_start_ends_that_call_within_the_lease_and_hands_the_rest_on(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, slots=4)
    client = Http(world, "c", "tools", legacy=False)
    client.call("read")
    world.run(0.5)
    client.call("write", delay=1.0)
    started = last(client)
    bridge = until_started(world, started)
    client.call("read", delay=0.5)
    again = last(client)
    delay_packs(world, Kind.TAKEN, bridge.name, None)
    client.call("write", delay=0.5)
    given = last(client)
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


@both_kinds
@pytest.mark.requirement("R10")
def test_a_bridge_that_wakes_after_ten_seconds_is_heard_of_nothing_it_did_before(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, slots=2)
    clients = [Http(world, "modern", "tools", legacy=False), LongLink(world, "legacy", "old", legacy=True)]
    world.run(0.5)
    for client in clients:
        client.call("write", delay=0.5)
    stopped = until_started(world, last(clients[0]))
    until_started(world, last(clients[1]))
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


@both_kinds
def test_a_bridge_given_up_by_mistake_that_takes_work_in_the_dead_generation_runs_nothing_twice(keeps: bool) -> None:
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
    assert not nobody_was_given_up(world)
    for request in client.requests:
        assert until_answered(world, request, 3.0) == ""
    assert_all_rules_held(world, client)


@both_kinds
def test_a_bridge_given_up_that_has_nothing_to_say_learns_of_it_and_frees_its_slots(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, slots=1)
    bridge, client = world.bridges[0], Http(world, "c", "tools", legacy=False)
    client.call("read")
    world.run(0.5)
    heard = [True]

    def without_grants(process: Process, pack: Pack) -> float | None:
        if envelopes_of(pack, Kind.GRANT):  # it holds an attempt, its word is acknowledged, and it waits
            world.after(0.0, process.feed, PackArrived(msgspec.structs.replace(pack, envelopes=())))
            return None
        return 0.0 if heard[0] or pack.source != bridge.name else None

    world.broker.meddle = without_grants
    client.call("write")
    world.run(1.0)
    bridge.touched.append("unheard")
    heard[0] = False
    world.run(LEASE + 1.5)
    assert bridge.core.member.pairs.get(world.edges[0].name).quiet
    world.broker.meddle = None
    assert until_answered(world, last(client), 3.0) == "outcome_unknown"
    client.call("write")
    assert until_answered(world, last(client), 3.0) == ""
    assert_all_rules_held(world, client)


@both_kinds
def test_an_unknown_bridge_that_joins_may_take_and_answer_before_it_has_announced_itself(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, slots=1)
    client = Http(world, "c", "tools", legacy=False)
    client.call("read", delay=1.0)
    until_started(world, last(client))
    client.call("write")
    world.run(0.01)
    newcomer = world.bridge()
    delay_packs(world, Kind.ANNOUNCE, newcomer.name, None, to=world.edges[0].name)
    newcomer.touched.append("unheard")
    assert until_answered(world, last(client), 3.0) == ""
    world.broker.meddle = None
    assert_all_rules_held(world, client)


@both_kinds
def test_a_second_taker_whose_word_comes_late_starts_nothing(keeps: bool) -> None:
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


@both_kinds
def test_a_death_notice_that_overtakes_taken_leads_to_one_start_elsewhere(keeps: bool) -> None:
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
    assert until_answered(world, last(client), 3.0) == ""
    world.run(2.0)
    assert_all_rules_held(world, client)
    assert leaver.name not in world.started[last(client).key]


@both_kinds
def test_what_a_dead_process_had_published_may_come_late_and_changes_nothing(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2)
    client = Http(world, "c", "tools", legacy=False)
    client.call("write", delay=0.1)
    bridge = until_started(world, last(client))
    world.fault("late flush", lasts=6.0)
    world.broker.cut_off(bridge, 6.0, deaf=False, mute=True)
    world.run(0.2)  # the answer is in a buffer of the dead
    bridge.kill(late=True)
    assert until_answered(world, last(client), LEASE + 1.0) == "outcome_unknown"
    world.run(7.0)
    assert_all_rules_held(world, client)
    assert len(last(client).answers) == 1


@both_kinds
@pytest.mark.requirement("D01")
def test_a_rolling_restart_of_the_only_bridge_loses_nothing(keeps: bool) -> None:
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


@both_kinds
def test_full_bridges_give_work_back_until_one_has_room(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2, slots=1)
    client = Http(world, "c", "tools", legacy=False)
    for number in range(12):
        client.call("write" if number % 2 else "read", delay=0.4)
    assert_all_rules_held(world, client)
    assert all(request.answers[0].reason == "" for request in client.requests)
    assert max(request.answers[0].at for request in client.requests) < 12.0


# ---------------------------------------------------------------- edges and clients
@both_kinds
def test_a_cancel_of_queued_work_while_a_bridge_joins_lets_nothing_start(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, slots=1)
    client = LongLink(world, "c", "tools", legacy=False)
    client.call("write", delay=1.0)
    until_started(world, last(client))
    client.call("write", cancel_after=0.1)
    cancelled = last(client)
    world.run(0.1)
    world.bridge()
    world.run(0.0005)
    assert_all_rules_held(world, client)
    assert cancelled.key not in world.started
    assert not cancelled.answers


@both_kinds
def test_a_fresh_edge_in_its_first_second_calls_like_any_other(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    fresh = world.edge()
    client = Http(world, "c", "tools", legacy=False, edge=fresh)
    client.call("write")
    client.call("read")
    assert_all_rules_held(world, client)
    assert all(request.answers[0].reason == "" and request.answers[0].at < 3.0 for request in client.requests)


@both_kinds
def test_an_edge_without_a_broker_refuses_nothing_and_calls_when_the_broker_comes(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    world.fault("restart", lasts=2.0)
    world.broker.restart(2.0)
    client = Http(world, "c", "tools", legacy=False, edge=world.edge())
    client.call("write")
    assert_all_rules_held(world, client)
    assert last(client).answers[0].reason == ""


@both_kinds
def test_an_edge_that_dies_before_it_was_heard_leaves_nothing_behind(keeps: bool) -> None:
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


@pytest.mark.parametrize("servers", [1, 2])
def test_clocks_a_thousand_seconds_apart_are_never_compared(servers: int) -> None:
    world = running_fabric(edges=2, bridges=servers)
    for number, process in enumerate(world.processes):
        process._skew += 1000.0 * number
        process._schedule()
    client = Http(world, "c", "tools", legacy=False, roams=True)
    for _ in range(10):
        client.call("write", delay=0.2)
        world.run(0.5)
    assert_all_rules_held(world, client)
    assert all(request.answers[0].reason == "" for request in client.requests)


@both_kinds
def test_a_second_definition_of_a_server_is_refused_by_the_newcomer_who_takes_no_work(keeps: bool) -> None:
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
@both_kinds
@pytest.mark.requirement("D06")
def test_what_nobody_takes_ends_at_its_deadline_and_is_never_started_after_it(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, slots=1, limits=Limits(idle=3.0, absolute=6.0))
    world.fault("slow server", lasts=30.0)
    holder = LongLink(world, "holder", "tools", legacy=False)
    holder.call("read", delay=5.5, progress=10)
    until_started(world, last(holder))
    client = Http(world, "c", "tools", legacy=False)
    client.call("write")
    waiting = last(client)
    assert until_answered(world, waiting, 4.0) == "overloaded"
    assert waiting.answers[0].retryable
    world.run(8.0)
    assert waiting.key not in world.started
    assert last(holder).answers[0].reason == ""  # its progress kept it alive beyond the idle time


@pytest.mark.requirement("D06")
def test_a_started_call_that_may_not_be_repeated_ends_unknown_at_its_deadline() -> None:
    world = running_fabric(limits=Limits(idle=2.0, absolute=5.0))
    client = Http(world, "c", "tools", legacy=False)
    client.call("write", delay=30.0)
    assert until_answered(world, last(client), 3.0) == "outcome_unknown"
    client.call("read", delay=30.0, progress=20)
    assert until_answered(world, last(client), 6.0) == "deadline"
    world.run(1.0)
    assert not world.bridges[0].core.jobs.open


@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "legacy"])
def test_thousands_of_answered_exchanges_with_deadlines_an_hour_away_leave_the_heap_small(legacy: bool) -> None:
    world = running_fabric(slots=64, limits=Limits(idle=3600.0, absolute=36000.0))
    client = LongLink(world, "c", "old", legacy=True) if legacy else Http(world, "c", "tools", legacy=False)
    world.run(0.5)
    client.call("read", delay=60.0)  # whose deadline stays before all the others
    rounds = 50 if legacy else 500  # a client on a long link looks through all its requests at each answer
    for _ in range(rounds):
        for _ in range(20):
            client.call("read")
        world.run(0.05)
    world.run(1.0)
    assert sum(len(request.answers) for request in client.requests if request.tool) == 20 * rounds
    core = world.edges[0].core
    assert len(core.sender.deadlines) == 1
    assert len(core.sender.deadlines._heap) < 200
    assert_all_rules_held(world, client)

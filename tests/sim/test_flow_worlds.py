"""Worlds of slow readers: the fabric waits for a slow server or client in bounded memory, and delays no other for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from fabric.core.bridge.core import BridgeCore
from fabric.core.bridge.sessions.holds import Holds
from fabric.core.bridge.sessions.session import Session
from fabric.core.edge.clients.slow_links import SlowLinks
from fabric.core.edge.core import EdgeCore
from fabric.core.edge.correlation import Limits
from tests.sim.clients import LongLink
from tests.sim.http_clients import Http
from tests.sim.process import BridgeProcess
from tests.sim.raw_posts import post
from tests.sim.running_fabric import (
    assert_all_rules_held,
    both_brokers,
    last_request,
    running_fabric,
    until_answered,
    until_started,
)
from tests.sim.servers import SimServer
from tests.sim.wires import BEHIND_BYTES, Wire
from tests.sim.world import Plant, World

pytestmark = pytest.mark.requirement("R11", "P05")


def shared(bridge: BridgeProcess, server: str = "tools") -> SimServer:
    """The process of a modern server that all clients of a bridge share."""
    child = bridge.core.pools[server].shared()
    assert child is not None
    return bridge.children[child.id]


def session_process(world: World) -> SimServer:
    """The process of the only session."""
    [(bridge, session)] = [(bridge, session) for bridge in world.bridges for session in bridge.core.sessions.open.values()]
    return bridge.children[session.child]


def stop_reading(client: LongLink | Http) -> Wire:
    """Have the client read nothing more of its newest link; `go` of the returned wire lets it read again."""
    edge = client.edge
    assert edge is not None
    return edge.stop_taking(client.link if isinstance(client, LongLink) else client.ends[-1].link)


def fabric_with_tool_list(**settings: Any) -> World:
    """A running fabric whose edge has the list of tools, so that no call waits for a stopped process to list them."""
    world = running_fabric(**settings)
    first = Http(world, "first", "tools", legacy=False)
    first.call("write")
    assert until_answered(world, last_request(first), 3.0) == ""
    return world


def call(client: LongLink | Http, tool: str, size: int, **arguments: Any) -> None:
    """Call a tool with so many bytes of arguments."""
    client.call(tool, text="x" * size, **arguments)


# ---------------------------------------------------------------- servers that do not read
@both_brokers
def test_a_server_that_stops_reading_is_sent_a_bounded_number_of_bytes_and_its_calls_succeed_later(keeps: bool) -> None:
    world = fabric_with_tool_list(keeps=keeps, bridges=1)
    server = shared(world.bridges[0])
    server.stdin.stop()
    clients = [Http(world, f"c{number}", "tools", legacy=False) for number in range(6)]
    for client in clients:
        call(client, "write", 5_000)
    world.run(2.0)
    assert server.stdin.most <= world.settings.unread_bytes + BEHIND_BYTES
    server.stdin.go()
    for client in clients:
        assert until_answered(world, last_request(client), 3.0) == ""
    assert_all_rules_held(world, *clients)


@both_brokers
def test_a_request_above_the_unread_limit_is_taken_where_nothing_waits(keeps: bool) -> None:
    world = fabric_with_tool_list(keeps=keeps, bridges=1)
    client = Http(world, "c", "tools", legacy=False)
    for _ in range(2):
        call(client, "write", 3 * world.settings.unread_bytes)
        assert until_answered(world, last_request(client), 1.0) == ""
    assert_all_rules_held(world, client)


@both_brokers
def test_large_requests_wait_until_their_server_reads_again(keeps: bool) -> None:
    world = fabric_with_tool_list(keeps=keeps, bridges=1)
    stdin = shared(world.bridges[0]).stdin
    stdin.stop()
    world.fault("slow server", lasts=5.0)
    client = Http(world, "c", "tools", legacy=False)
    for _ in range(4):
        call(client, "write", 100_000)
        world.run(0.2)
    stdin.go()
    assert_all_rules_held(world, client)
    assert not any(request.answers[0].reason for request in client.requests)


@both_brokers
def test_a_bridge_runs_the_calls_for_which_another_has_no_room(keeps: bool) -> None:
    world = fabric_with_tool_list(keeps=keeps, bridges=2)
    server = shared(world.bridges[0])
    server.stdin.stop()
    clients = [Http(world, f"c{number}", "tools", legacy=False) for number in range(12)]
    for client in clients:
        call(client, "write", 5_000)
    world.run(6.0)
    waiting = [client for client in clients if last_request(client).open]
    assert len(waiting) <= 3  # the calls that its bridge has written to it
    server.stdin.go()
    assert_all_rules_held(world, *clients)


@both_brokers
def test_only_calls_that_may_have_reached_a_stalled_process_have_an_unknown_outcome(keeps: bool) -> None:
    world = fabric_with_tool_list(keeps=keeps, bridges=1, limits=Limits(idle=100.0, absolute=200.0))
    world.fault("stalled server", lasts=60.0)
    bridge = world.bridges[0]
    bridge.touched.append("stalled server")
    shared(bridge).stdin.stop()
    clients = [Http(world, f"c{number}", "tools", legacy=False) for number in range(5)]
    for client in clients:
        call(client, "write", 3_000)
    world.run(30.0)
    assert all(last_request(client).open for client in clients)
    for client in clients:
        until_answered(world, last_request(client), 40.0)
    outcomes = sorted(last_request(client).answers[0].reason for client in clients)
    assert outcomes == ["", "", "", "", "outcome_unknown"]
    assert_all_rules_held(world, *clients)


def test_calls_not_yet_sent_to_a_crashed_process_run_in_another() -> None:
    world = fabric_with_tool_list(bridges=1)
    world.fault("server crash")
    bridge = world.bridges[0]
    bridge.touched.append("server crash")
    server = shared(bridge)
    server.stdin.stop()
    clients = [Http(world, f"c{number}", "tools", legacy=False) for number in range(4)]
    for client in clients:
        call(client, "write", 2_000)
    world.run(0.5)
    server.crash()
    assert sorted(until_answered(world, last_request(client), 5.0) for client in clients) == ["", "", "", "outcome_unknown"]
    assert_all_rules_held(world, *clients)


def test_an_unsent_call_of_a_lost_session_is_retryable() -> None:
    world = fabric_with_tool_list(bridges=1)
    world.fault("server crash")
    client = LongLink(world, "c", "old", legacy=True)
    call(client, "write", 10)
    until_answered(world, last_request(client), 3.0)
    server = session_process(world)
    world.bridges[0].touched.append("server crash")
    server.stdin.stop()
    for _ in range(3):
        call(client, "write", 2_000)
    world.run(0.5)
    calls = client.requests[-3:]
    server.crash()
    assert [until_answered(world, each, 3.0) for each in calls] == ["outcome_unknown", "session_lost", "session_lost"]
    assert [each.answers[0].retryable for each in calls] == [False, True, True]
    assert_all_rules_held(world, client)


@both_brokers
def test_a_call_without_room_until_its_deadline_ends_as_overloaded_and_never_starts(keeps: bool) -> None:
    world = fabric_with_tool_list(keeps=keeps, bridges=1, limits=Limits(idle=4.0, absolute=30.0))
    world.fault("stalled server", lasts=5.0)
    world.bridges[0].touched.append("stalled server")
    server = shared(world.bridges[0])
    server.stdin.stop()
    clients = [Http(world, f"c{number}", "tools", legacy=False) for number in range(4)]
    for client in clients:
        call(client, "write", 5_000)
    world.run(5.0)
    late = [client for client in clients if last_request(client).answers[0].reason == "overloaded"]
    assert late
    assert all(last_request(client).answers[0].retryable for client in late)
    server.stdin.go()
    world.run(2.0)
    assert not any(last_request(client).key in world.started for client in late)


def test_an_edge_stops_reading_a_long_link_whose_server_process_does_not_read() -> None:
    world = fabric_with_tool_list(bridges=1)
    client = LongLink(world, "c", "old", legacy=True)
    other = LongLink(world, "d", "old", legacy=True)
    call(client, "write", 10)
    until_answered(world, last_request(client), 3.0)
    session = next(iter(world.bridges[0].core.sessions.open.values()))
    server = world.bridges[0].children[session.child]
    server.stdin.stop()
    for number in range(60):
        world.after(0.02 * number, call, client, "write", 1_000)
    world.run(2.0)
    call(other, "write", 10)
    assert until_answered(world, last_request(other), 2.0) == ""
    assert server.stdin.most < 15_000
    server.stdin.go()
    for each in client.requests:
        assert until_answered(world, each, 3.0) == ""
    starts = [key for key in world.started if key.startswith("c.")]
    assert starts == sorted(starts, key=lambda key: int(key[2:]))
    assert_all_rules_held(world, client, other)


def test_posts_of_a_session_whose_process_does_not_read_are_refused_as_overloaded() -> None:
    world = fabric_with_tool_list(bridges=1)
    client = Http(world, "c", "old", legacy=True)
    call(client, "write", 10)
    until_answered(world, last_request(client), 3.0)
    world.fault("stalled server", lasts=2.0)
    server = session_process(world)
    server.stdin.stop()
    for number in range(5):
        world.after(0.02 * number, call, client, "write", 5_000)
    world.run(1.0)
    refused = [each.answers[0] for each in client.requests if each.answers and each.answers[0].reason]
    assert {answer.reason for answer in refused} == {"overloaded"}
    assert all(answer.retryable for answer in refused)
    server.stdin.go()
    for each in client.requests:
        until_answered(world, each, 3.0)
    assert_all_rules_held(world, client)


def test_a_health_check_that_the_server_has_not_read_has_not_failed() -> None:
    world = fabric_with_tool_list(bridges=1, limits=Limits(idle=200.0, absolute=300.0))
    server = shared(world.bridges[0])
    server.stdin.stop()
    client = Http(world, "c", "tools", legacy=False)
    world.fault("slow server", lasts=50.0)
    call(client, "write", 7_000)
    world.run(50.0)
    assert world.bridges[0].core.pools["tools"].condition.health == "healthy"
    server.stdin.go()
    assert until_answered(world, last_request(client), 3.0) == ""
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- clients that do not read
@pytest.mark.parametrize("http", [False, True], ids=["long link", "http"])
def test_a_client_that_stops_reading_holds_only_its_own_server_process_and_misses_no_message(http: bool) -> None:
    world = running_fabric(bridges=1, limits=Limits(idle=100.0, absolute=200.0))
    make = Http if http else LongLink
    slow, other = make(world, "slow", "old", legacy=True), LongLink(world, "other", "old", legacy=True)
    world.run(1.0)
    slow.call("write", flood=200)
    until_started(world, last_request(slow))
    world.fault("slow client", lasts=20.0)
    wire = stop_reading(slow)
    world.run(20.0)
    other.call("write", flood=20)
    assert until_answered(world, last_request(other), 2.0) == ""
    assert wire.most < 15_000
    assert not last_request(slow).answers
    wire.go()
    assert until_answered(world, last_request(slow), 5.0) == ""
    assert last_request(slow).progress == 200
    assert_all_rules_held(world, slow, other)


class SkipsNothing(SlowLinks):
    """Messages wait for a slow client, however many wait already."""

    def fell_behind(self, link: str, unsent_bytes: int) -> None:
        super().fell_behind(link, unsent_bytes - 1_000_000)


def no_bound_for_a_slow_client(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.slow.__class__ = SkipsNothing


@both_brokers
@pytest.mark.parametrize("plant", [None, no_bound_for_a_slow_client], ids=["right", "no_bound_for_a_slow_client"])
def test_a_shared_process_waits_for_no_slow_client_and_skips_messages_for_it(keeps: bool, plant: Plant | None) -> None:
    world = running_fabric(keeps=keeps, bridges=1, lane_bytes=100_000, plant=plant)
    edge = world.edges[0]
    slow, other = LongLink(world, "slow", "tools", legacy=False), LongLink(world, "other", "tools", legacy=False)
    slow.call("read", flood=200)
    until_started(world, last_request(slow))
    wire = stop_reading(slow)
    other.call("read", flood=50)
    assert until_answered(world, last_request(other), 2.0) == ""
    world.run(5.0)
    assert (wire.most < 30_000) is (plant is None)
    wire.go()
    assert until_answered(world, last_request(slow), 1.0) == ""
    assert (sum(edge.skipped.values()) > 50) is (plant is None)
    assert_all_rules_held(world, slow, other)


def test_a_subscription_with_skipped_notices_gets_each_distinct_one_once_it_reads_again() -> None:
    world = running_fabric(bridges=1, lane_bytes=40_000)
    client = Http(world, "slow", "tools", legacy=False)
    subscription = post(world, client, "subscriptions/listen", {"notifications": {}})
    world.run(1.0)
    received = len(subscription.frames)
    wire = world.edges[0].stop_taking(subscription.link)
    world.run(50.0)  # some 200 notices of 130 bytes
    assert 9_000 < wire.most < 11_000
    waiting = len(wire.waiting)
    wire.go()
    assert len(subscription.frames) == received + waiting + 1  # one of each skipped notice, and all skipped ones are alike
    world.edges[0].hang_up(subscription.link)
    assert_all_rules_held(world, client)


def test_a_client_that_reads_nothing_for_a_minute_is_disconnected_and_its_process_goes_on() -> None:
    world = running_fabric(bridges=1, session_idle=30.0, limits=Limits(idle=100.0, absolute=200.0))
    client = Http(world, "c", "old", legacy=True)
    world.run(1.0)
    client.call("write", flood=100)
    until_started(world, last_request(client))
    server = session_process(world)
    wire = stop_reading(client)
    world.run(50.0)
    assert server.stdin.most == 0
    assert wire.most < 15_000
    assert not last_request(client).answers
    world.run(20.0)
    assert world.run_until(lambda: server._running == {}, 5.0)  # it has written all progress, and its answer
    client.leave()


class HeldByTheDead(Holds):
    """A process that an edge has held stays held when the edge is gone."""

    def lost(self, edge: str, sessions: Iterable[Session]) -> None: ...


def a_hold_of_a_dead_edge(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, BridgeCore):
        core.sessions.holds.__class__ = HeldByTheDead


@pytest.mark.parametrize("plant", [None, a_hold_of_a_dead_edge], ids=["right", "a_hold_of_a_dead_edge"])
def test_an_edge_that_dies_with_a_slow_client_leaves_no_process_held(plant: Plant | None) -> None:
    world = running_fabric(edges=2, bridges=1, plant=plant)
    world.fault("kill edge")
    client = Http(world, "c", "old", legacy=True)
    world.run(1.0)
    client.call("write", flood=100)
    until_started(world, last_request(client))
    server = session_process(world)
    stop_reading(client)
    world.run(2.0)
    assert server._running
    assert client.edge is not None
    client.edge.kill()
    assert world.run_until(lambda: server._running == {}, 10.0) is (plant is None)
    if plant is None:
        assert_all_rules_held(world, client)


def test_a_server_that_writes_faster_than_an_edge_acknowledges_waits_for_the_edge() -> None:
    world = running_fabric(bridges=1, lane_bytes=20_000)
    client = LongLink(world, "c", "old", legacy=True)
    world.run(1.0)
    client.call("write", flood=300)
    until_started(world, last_request(client))
    world.fault("freeze", lasts=1.5)
    edge, bridge = world.edges[0], world.bridges[0]
    edge.touched.append("freeze")
    edge.freeze()
    world.run(1.5)
    lane = next(pair.data_out for pair in bridge.core.member.pairs if pair.peer == edge.name)
    assert lane.kept_bytes < 40_000
    edge.thaw()
    assert until_answered(world, last_request(client), 5.0) == ""
    assert last_request(client).progress == 300
    assert_all_rules_held(world, client)


def test_an_edge_reads_a_bounded_number_of_bytes_behind_an_unanswered_initialize() -> None:
    world = running_fabric(bridges=1)
    world.fault("freeze", lasts=1.0)
    bridge, edge = world.bridges[0], world.edges[0]
    bridge.touched.append("freeze")
    bridge.freeze()
    client = LongLink(world, "c", "old", legacy=True)
    for number in range(20):
        world.after(0.01 * number, call, client, "write", 300_000)
    world.run(1.0)
    assert edge.core.long_links.open[client.link].held_bytes < 1_500_000
    bridge.thaw()
    for each in client.requests:
        until_answered(world, each, 10.0)
    assert_all_rules_held(world, client)

"""Worlds of eviction: abandoned HTTP sessions give way to new ones, and a session with a running call never does."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.bridge.core import SWEEP
from fabric.core.bridge.sessions.eviction import EVICT_AFTER, KEPT, allowed
from fabric.core.effects import StatusChanged
from tests.sim.http_clients import Http
from tests.sim.running_fabric import assert_all_rules_held, last_request, running_fabric, until_answered, until_started
from tests.sim.world import World

pytestmark = pytest.mark.requirement("R11")


def client_with_session(world: World, name: str, **settings: Any) -> Http:
    """A client with a session that has run a call."""
    client = Http(world, name, "old", legacy=True, **settings)
    client.call("write")
    assert world.run_until(lambda: bool(client.requests[1:] and last_request(client).answers), 3.0), name
    return client


def vanish(client: Http) -> Http:
    """End a client's connections without a DELETE; it never comes back."""
    client.over = True
    return disconnect(client)


def disconnect(client: Http) -> Http:
    """End a client's connections, such as the one on which it reads its session's stream; it opens no other by itself."""
    for edge in client.world.edges:
        for link in [link for link in edge.links if link.startswith(f"{client.name}/")]:
            edge.hang_up(link)
    return client


def open_sessions(world: World) -> set[str]:
    """The ids of all open sessions."""
    return {session for bridge in world.bridges for session in bridge.core.sessions.open}


def test_the_more_sessions_are_abandoned_the_sooner_they_end_oldest_first() -> None:
    world = running_fabric(most=3 * KEPT, session_idle=400.0)
    clients: list[Http] = []
    left_at = []
    for number in range(3 * KEPT):
        clients.append(vanish(client_with_session(world, f"c{number}")))
        left_at.append(world.now)
    order = [client.session_id for client in clients]
    counts = []
    for _ in range(4):
        world.run(90.0)
        counts.append(len(left := open_sessions(world)))
        assert left == set(order[-len(left) :])
        assert world.now - left_at[-len(left)] < allowed(len(left), 400.0) + SWEEP + 1
    assert sorted(set(counts), reverse=True) == counts
    assert 3 * KEPT > counts[0] > KEPT > counts[-1] > 0  # sessions are kept for all of the 400 s once they are few
    world.run(90.0)
    assert not open_sessions(world)
    assert_all_rules_held(world)


def test_a_session_whose_client_reads_its_stream_is_not_evicted() -> None:
    world = running_fabric(most=100, session_idle=60.0)
    kept = client_with_session(world, "kept")
    for number in range(32):
        vanish(client_with_session(world, f"c{number}"))
    world.run(70.0)
    assert open_sessions(world) == {kept.session_id}
    assert_all_rules_held(world, kept)


@pytest.mark.parametrize("edge_dies", [False, True])
def test_a_session_with_a_running_call_is_not_evicted_though_its_client_and_edge_are_gone(edge_dies: bool) -> None:
    world = running_fabric(edges=2, most=3, session_idle=100.0)
    edge, other = world.edges
    clients = [client_with_session(world, f"c{number}", edge=edge) for number in range(3)]
    running = [client.session_id for client in clients[:2]]
    for client in clients[:2]:
        client.call("write", delay=60.0)
        until_started(world, last_request(client))
    for client in clients:
        vanish(client)
    if edge_dies:
        world.fault("kill edge")
        edge.kill()
    world.run(15.0)
    assert open_sessions(world) >= set(running)
    newcomer = client_with_session(world, "new", edge=other)
    assert open_sessions(world) == {*running, newcomer.session_id}
    second = Http(world, "second", "old", legacy=True, edge=other)
    world.run(20.0)
    assert open_sessions(world) == {*running, newcomer.session_id}
    vanish(newcomer)
    assert world.run_until(lambda: second.session is not None, 13.0)
    assert set(running) <= open_sessions(world)
    assert until_answered(world, second.requests[0], 1.0) == ""


def test_a_full_server_evicts_sessions_sooner_when_many_clients_wait() -> None:
    world = running_fabric(most=12, slots=64, session_idle=15.0)
    world.fault("full server", lasts=12.0)
    for number in range(12):
        vanish(client_with_session(world, f"c{number}"))
    one = Http(world, "one", "old", legacy=True)
    world.run(4.0)
    assert one.session is None  # less than ten seconds have passed
    many = [Http(world, f"m{number}", "old", legacy=True) for number in range(9)]
    waiting = [one, *many]
    assert world.run_until(lambda: sum(client.session is not None for client in waiting) >= 8, 3.0)
    assert world.run_until(
        lambda: all(client.session for client in waiting), 8.0
    )  # again only the session that was abandoned first gives way
    assert_all_rules_held(world, one, *many)


def test_clients_that_come_to_a_full_server_at_once_do_not_delay_each_other() -> None:
    world = running_fabric(most=10, slots=64, session_idle=60.0)
    world.fault("full server", lasts=12.0)
    for number in range(10):
        vanish(client_with_session(world, f"c{number}"))
    many = [Http(world, f"m{number}", "old", legacy=True) for number in range(10)]
    assert world.run_until(lambda: sum(client.session is not None for client in many) >= 6, 3.5)
    assert world.run_until(lambda: all(client.session for client in many), 11.0)
    assert_all_rules_held(world, *many)


def test_the_eviction_time_of_a_session_starts_at_the_end_of_its_long_call() -> None:
    world = running_fabric(most=2, session_idle=100.0)
    first, second = disconnect(client_with_session(world, "first")), disconnect(client_with_session(world, "second"))
    first.call("write", delay=15.0)
    second.call("write", delay=40.0)
    world.fault("full server", lasts=60.0)
    assert until_answered(world, last_request(first), 16.0) == ""
    newcomer = Http(world, "new", "old", legacy=True)
    world.run(EVICT_AFTER - 1.0)
    assert open_sessions(world) == {first.session_id, second.session_id}
    assert world.run_until(lambda: newcomer.session is not None, 3.0)
    assert open_sessions(world) == {second.session_id, newcomer.session_id}


def test_a_long_silent_session_outlives_a_short_break_of_its_clients_stream() -> None:
    world = running_fabric(session_idle=12.0)
    client = client_with_session(world, "c")
    world.run(40.0)
    session = client.session_id
    disconnect(client)
    world.run(8.0)
    client.call("write")
    assert until_answered(world, last_request(client), 2.0) == ""
    assert client.session_id == session
    assert_all_rules_held(world, client)


def test_a_bridge_that_has_left_looks_for_no_idle_session() -> None:
    world = running_fabric(session_idle=12.0)
    client_with_session(world, "c")
    world.run(20.0)
    [bridge] = world.bridges
    bridge.core.leave(bridge.clock)
    assert set(bridge.core.expire(bridge.clock + SWEEP)) <= {StatusChanged()}  # it does not hear itself any more

"""Worlds of two bridges of which one is killed or stopped under load: no repeatable call waits long for it."""

from __future__ import annotations

import pytest

from fabric.core.bridge.core import BridgeCore
from fabric.core.edge.core import EdgeCore
from fabric.core.edge.detours import Detours
from fabric.core.edge.stalled import StalledExchanges
from fabric.core.peers.lease import LEASE
from fabric.core.peers.member import Member
from tests.sim.http_clients import Http
from tests.sim.requests import Request
from tests.sim.running_fabric import (
    assert_all_rules_held,
    both_brokers,
    last_request,
    running_fabric,
    until_answered,
    until_started,
)
from tests.sim.world import Plant, World

pytestmark = pytest.mark.requirement("R11")

PROMISED = LEASE + 1.0
"""Seconds within which a repeatable call is answered, whatever happens to one bridge."""
DOUBTED = 2.0
"""Seconds after which a bridge that was stopped under load gets no more work."""


def load(world: World, clients: list[Http], seconds: float) -> None:
    """Call again and again for these seconds, without waiting for answers."""
    began = world.now
    while world.now - began < seconds:
        for client in clients:
            client.call("read", delay=0.03)
        world.run(0.02)


def stopped_under_load(*, keeps: bool, edges: int = 1, plant: Plant | None = None) -> tuple[World, list[Http], float]:
    """A world in which a bridge is stopped for 14 s under load; its clients, and when that began."""
    world = running_fabric(keeps=keeps, bridges=2, edges=edges, plant=plant)
    clients = [Http(world, f"c{number}", "tools", legacy=False, edge=edge) for number, edge in enumerate(world.edges)]
    load(world, clients, 1.0)
    bridge, stopped = world.bridges[0], world.now
    world.fault("freeze", lasts=0.0)
    bridge.touched.append("freeze")
    bridge.freeze()
    load(world, clients, 14.0)
    bridge.thaw()
    load(world, clients, 1.0)
    return world, clients, stopped


def late_calls(clients: list[Http], stopped: float) -> list[tuple[Request, float]]:
    """The calls that waited for longer than they may, and for how long."""
    late = []
    for client in clients:
        for request in client.requests:
            took = (request.answers[0].at if request.answers else float("inf")) - request.posted
            if took > (PROMISED if request.posted < stopped + DOUBTED else 0.3):
                late.append((request, took))
    return late


@both_brokers
@pytest.mark.parametrize("edges", [1, 2])
def test_a_bridge_stopped_under_load_delays_no_repeatable_call_for_long(keeps: bool, edges: int) -> None:
    world, clients, stopped = stopped_under_load(keeps=keeps, edges=edges)
    assert_all_rules_held(world, *clients)
    assert not late_calls(clients, stopped)
    assert all(request.answers[0].reason == "" for client in clients for request in client.requests)


@both_brokers
def test_a_bridge_stopped_under_little_load_delays_no_repeatable_call_for_long(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=3)
    client = Http(world, "c", "tools", legacy=False)
    for bridge in world.bridges[:2]:
        world.fault("freeze", lasts=0.0)
        bridge.touched.append("freeze")
        bridge.freeze()
        for _ in range(12):
            client.call("read", delay=0.03)
            world.run(0.7)
    assert_all_rules_held(world, client)
    assert max(request.answers[0].at - request.posted for request in client.requests) < PROMISED


@both_brokers
def test_a_bridge_killed_under_load_delays_no_repeatable_call_for_long(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2)
    client = Http(world, "c", "tools", legacy=False)
    load(world, [client], 1.0)
    world.fault("kill bridge", lasts=0.0)
    world.bridges[0].kill()
    load(world, [client], 8.0)
    assert_all_rules_held(world, client)
    assert max(request.answers[0].at - request.posted for request in client.requests) < PROMISED
    assert all(request.answers[0].reason == "" for request in client.requests)


@both_brokers
def test_an_initialize_that_a_stopped_bridge_received_opens_its_session_at_another(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2)
    bridge = world.bridges[0]
    world.fault("freeze", lasts=0.0)
    bridge.touched.append("freeze")
    bridge.freeze()
    clients = [Http(world, f"c{number}", "old", legacy=True) for number in range(6)]
    for client in clients:
        client.call("write")
    assert world.run_until(lambda: all(client.requests[-1].answers for client in clients), PROMISED)
    bridge.thaw()
    assert_all_rules_held(world, *clients)
    assert all(request.answers[0].reason == "" for client in clients for request in client.requests)


@both_brokers
def test_work_waits_in_the_queue_while_every_bridge_is_in_doubt(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    bridge, client = world.bridges[0], Http(world, "c", "tools", legacy=False)
    world.fault("freeze", lasts=3.0)
    bridge.touched.append("freeze")
    bridge.freeze()
    world.run(2.5)
    client.call("write")
    bridge.thaw()
    assert until_answered(world, last_request(client), 1.5) == ""
    assert_all_rules_held(world, client)


@both_brokers
def test_writes_bypass_a_stopped_bridge_and_start_once(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2)
    client = Http(world, "c", "tools", legacy=False)
    client.call("read")
    stopped = until_started(world, last_request(client))
    world.fault("freeze", lasts=0.0)
    stopped.touched.append("freeze")
    stopped.freeze()
    world.run(DOUBTED)
    for _ in range(200):
        client.call("write", delay=0.05)
        world.run(0.04)
    stopped.thaw()
    assert_all_rules_held(world, client)
    assert all(request.answers[0].at - request.posted < 0.3 for request in client.requests[1:])


# ---------------------------------------------------------------- planted bugs
class AlwaysTheQueue(Detours):
    """No work ever bypasses a queue."""

    def bridge(self, server: str, now: float) -> str:
        return ""


class NeverInDoubt(Member):
    """A bridge under lease gets work, however long it has been silent."""

    def doubts(self, peer: str, now: float) -> bool:
        return False


class LeftAdrift(StalledExchanges):
    """Work that a dead bridge had received and not announced waits for its last resort, a timeout."""

    def adrift(self, servers: frozenset[str], now: float) -> None: ...


class Trusting(Detours):
    """A bridge that was given up is forgotten, though the broker may still give it work."""

    def look(self, now: float) -> None:
        self._gone = {}
        super().look(now)


class TrustsTheSilent(Detours):
    """Work that bypasses the queue because of a silent bridge may go to that very bridge."""

    def look(self, now: float) -> None:
        super().look(now)
        for room in self._rooms.values():
            for server in room.free if self._member.doubts(room.peer, now) else ():
                self._takers[server] = [room]


def a_detour_to_a_silent_bridge(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.detours.__class__ = TrustsTheSilent


def no_detour(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.detours.__class__ = AlwaysTheQueue


def no_doubt(core: EdgeCore | BridgeCore) -> None:
    core.member.__class__ = NeverInDoubt


def work_left_adrift(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.stalled.__class__ = LeftAdrift


def a_given_up_bridge_trusted(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.detours.__class__ = Trusting


@pytest.mark.parametrize(
    "plant",
    [no_detour, no_doubt, work_left_adrift, a_given_up_bridge_trusted, a_detour_to_a_silent_bridge],
    ids=lambda plant: plant.__name__,
)
def test_a_planted_bug_makes_a_call_wait_for_the_stopped_bridge(plant: Plant) -> None:
    runs = [stopped_under_load(keeps=keeps, plant=plant) for keeps in (False, True)]
    assert any(late_calls(clients, stopped) for _, clients, stopped in runs)

"""Worlds of starting servers: calls wait for slow ones, and a server that cannot stand probes is not probed again."""

from __future__ import annotations

import pytest

from fabric.core.bridge.processes.probe import SECOND_REQUEST
from fabric.core.edge.correlation import Limits
from fabric.core.peers.announcement import Health
from tests.sim.clients import Client, LongLink
from tests.sim.http_clients import Http
from tests.sim.running_fabric import assert_all_rules_held, last_request, running_fabric, until_answered, until_started
from tests.sim.servers import Behaviour, SimServer
from tests.sim.world import World

SLOW = 25.0
"""Seconds that a slow server takes to read anything."""
START = 5.0
"""Seconds that a server may take to start."""
CHECKED = 100.0
"""Seconds within which several health checks are due."""


def processes(world: World, server: str) -> list[SimServer]:
    """The processes of a server at the first bridge."""
    return [process for process in world.bridges[0].children.values() if process.child.startswith(f"{server}#")]


def announced(world: World, server: str) -> tuple[Health, str]:
    """The health of a server at the first bridge, and the reason, as an edge knows them."""
    announcement = world.edges[0].core.member.leases.peers[world.bridges[0].name].announcement
    assert announcement is not None
    return announcement.serves[server].health, announcement.serves[server].reason


@pytest.mark.parametrize(("server", "legacy"), [("tools", False), ("old", True), ("both", False), ("both", True)])
def test_calls_wait_for_a_server_that_starts_slowly(server: str, legacy: bool) -> None:
    world = running_fabric(behaviours={server: Behaviour(reads_after=SLOW)}, limits=Limits())
    world.fault("slow start", lasts=2 * SLOW)
    [first] = processes(world, server)
    clients: list[Client] = [Http(world, "h", server, legacy=legacy), LongLink(world, "l", server, legacy=legacy)]
    for client in clients:
        client.call("write")
    world.run(15.0)
    health, reason = announced(world, server)
    assert (health, reason[:13]) == (Health.CHECKING, "starting for ")
    assert processes(world, server) == [first]
    assert until_answered(world, last_request(clients[0]), 2 * SLOW) == ""  # a session has a process of its own
    assert_all_rules_held(world, *clients)


def test_the_error_of_a_call_that_ends_before_its_server_has_started_names_the_slow_start() -> None:
    world = running_fabric(behaviours={"tools": Behaviour(reads_after=SLOW)}, limits=Limits(idle=10.0, absolute=60.0))
    client = Http(world, "h", "tools", legacy=False)
    client.call("write")
    assert until_answered(world, last_request(client), 11.0) == "no_worker"
    [answer] = last_request(client).answers
    assert answer.retryable
    assert "tools has not answered yet, starting for 1" in answer.message


def test_calls_wait_for_a_crashed_server_that_starts_slowly() -> None:
    world = running_fabric()
    client = Http(world, "h", "tools", legacy=False)
    client.call("write")
    until_started(world, last_request(client))
    world.settings.behaviours["tools"] = Behaviour(reads_after=SLOW)
    for process in processes(world, "tools"):
        process.crash()
    world.fault("server crash", lasts=SLOW)
    world.bridges[0].touched.append("server crash")
    client.call("read")
    world.run(10.0)
    assert announced(world, "tools")[0] is Health.CHECKING
    assert until_answered(world, last_request(client), SLOW) == ""
    assert_all_rules_held(world, client)


@pytest.mark.parametrize("tool", ["read", "write"])
def test_calls_taken_for_a_server_that_starts_slowly_again_run_at_another_bridge(tool: str) -> None:
    world = running_fabric(bridges=2, limits=Limits())
    world.fault("crash and slow start", lasts=SLOW)
    world.settings.behaviours["tools"] = Behaviour(reads_after=SLOW)
    for process in processes(world, "tools"):
        process.crash()
    client = Http(world, "h", "tools", legacy=False)
    for _ in range(8):
        client.call(tool)
    for request in client.requests:
        assert until_answered(world, request, SECOND_REQUEST + 2.0) == ""
    assert_all_rules_held(world, client)


def test_a_server_that_exits_on_any_probe_keeps_its_warm_process_and_its_sessions() -> None:
    world = running_fabric(behaviours={"old": Behaviour(exits_before_initialize=True)})
    assert world.run_until(lambda: announced(world, "old")[0] is Health.HEALTHY, 3.0)
    [warm] = processes(world, "old")
    world.run(CHECKED)
    assert processes(world, "old") == [warm]
    assert announced(world, "old") == (Health.HEALTHY, "")
    client = LongLink(world, "l", "old", legacy=True)
    client.call("write")
    assert until_answered(world, last_request(client), 1.0) == ""
    assert warm.methods[0] == "initialize"
    assert_all_rules_held(world, client)


def test_a_server_that_answers_no_probe_is_healthy_and_its_warm_process_is_not_probed_again() -> None:
    world = running_fabric(behaviours={"old": Behaviour(ignores_probes=True)})
    assert world.run_until(lambda: announced(world, "old")[0] is Health.HEALTHY, SECOND_REQUEST + 1.0)
    [warm] = processes(world, "old")
    world.run(CHECKED)
    assert (processes(world, "old"), warm.methods) == ([warm], [])
    assert announced(world, "old") == (Health.HEALTHY, "")


def test_a_server_that_exits_on_an_early_ping_loses_one_process() -> None:
    world = running_fabric(behaviours={"old": Behaviour(exits_on_early_ping=True)})
    [first] = processes(world, "old")
    world.run(CHECKED)
    [warm] = processes(world, "old")
    assert (first.methods, warm.methods) == (["ping"], [])
    assert announced(world, "old") == (Health.HEALTHY, "")
    client = LongLink(world, "l", "old", legacy=True)
    client.call("write")
    assert until_answered(world, last_request(client), 1.0) == ""
    assert_all_rules_held(world, client)


def test_a_server_that_hangs_on_an_early_message_serves_from_its_second_process() -> None:
    world = running_fabric(behaviours={"old": Behaviour(hangs_before_initialize=True)}, start_timeout=START)
    world.fault("slow start", lasts=START)
    assert world.run_until(lambda: "era" in announced(world, "old")[1], START + 2.0)
    assert world.run_until(lambda: announced(world, "old")[0] is Health.HEALTHY, 3.0)
    client = LongLink(world, "l", "old", legacy=True)
    client.call("write")
    assert until_answered(world, last_request(client), 1.0) == ""
    assert_all_rules_held(world, client)


def test_the_era_of_a_server_definition_is_probed_once() -> None:
    world = running_fabric()
    [warm] = processes(world, "old")
    world.fault("server crash")
    warm.crash()
    assert world.run_until(lambda: bool(processes(world, "old")), 1.0)
    [probed] = processes(world, "old")
    world.run(1.0)
    assert probed.methods == ["initialize"]
    assert announced(world, "old")[0] is Health.HEALTHY


def test_an_initialize_whose_process_fails_to_start_is_retryable() -> None:
    world = running_fabric()
    clients = [LongLink(world, name, "old", legacy=True) for name in "ab"]  # one process is warm

    def crash_starting() -> bool:
        starting = [
            child for child in processes(world, "old") if world.bridges[0].core.pools["old"].children[child.child].backlog
        ]
        for process in starting:
            process.crash()
        return bool(starting)

    world.fault("server crash")
    world.bridges[0].touched.append("server crash")
    assert world.run_until(crash_starting, 2.0)
    reasons = sorted(until_answered(world, client.requests[0], 3.0) for client in clients)
    assert reasons == ["", "unavailable"]
    refused = next(client.requests[0].answers[0] for client in clients if client.requests[0].answers[0].reason)
    assert refused.retryable
    assert_all_rules_held(world, *clients)

"""Worlds of a restart that a person asks for: every bridge starts new processes, and no call is lost."""

from __future__ import annotations

import pytest

from fabric.core.bridge.processes.renewal import FINISH_IN
from fabric.core.bridge.speaking.modern import INPUT_IN
from fabric.core.edge.correlation import Limits
from fabric.core.peers.announcement import Health, Restart
from tests.sim.clients import Client, LongLink
from tests.sim.http_clients import Http
from tests.sim.process import BridgeProcess, ObserverProcess
from tests.sim.raw_posts import post
from tests.sim.running_fabric import (
    assert_all_rules_held,
    both_brokers,
    last_request,
    running_fabric,
    until_answered,
    until_started,
)
from tests.sim.servers import Behaviour, SimServer
from tests.sim.world import World


def processes(world: World, server: str) -> list[SimServer]:
    """All processes of a server, at all bridges."""
    return [child for bridge in world.bridges for child in bridge.children.values() if child.child.startswith(f"{server}#")]


def announced_restart(observer: ObserverProcess, bridge: BridgeProcess, server: str) -> Restart | None:
    """What the bridge announces of the restart."""
    announcement = observer.core.member.leases.peers[bridge.name].announcement
    return announcement.serves[server].restart if announcement is not None else None


def restarted(world: World, server: str, token: str = "t", timeout: float = 5.0) -> ObserverProcess:
    """Ask for a restart, and wait until every bridge has done it."""
    observer = world.observer()
    world.run(1.0)
    observer.restart(server, token)

    def done() -> bool:
        answers = [announced_restart(observer, bridge, server) for bridge in world.bridges]
        return all(answer is not None and answer.token == token and answer.done for answer in answers)

    assert world.run_until(done, timeout)
    return observer


@both_brokers
@pytest.mark.parametrize(("server", "legacy"), [("tools", False), ("old", True), ("both", False), ("both", True)])
def test_every_bridge_starts_new_processes_and_calls_go_on(server: str, legacy: bool, keeps: bool) -> None:
    world = running_fabric(bridges=2, edges=2, keeps=keeps)
    old = processes(world, server)
    clients: list[Client] = [Http(world, f"h{n}", server, legacy=legacy) for n in range(2)]
    clients.append(LongLink(world, "l", server, legacy=legacy))

    def call_all(rounds: int) -> None:
        for client in clients:
            client.call("write", delay=0.3)
            client.call("read", delay=0.1)
        if rounds:
            world.after(0.2, call_all, rounds - 1)

    call_all(20)
    world.run(0.5)
    restarted(world, server)
    assert_all_rules_held(world, *clients)
    assert not [process for process in old if process.alive and not legacy]
    assert not set(old) & {process for process in processes(world, server) if not process.methods}


def test_a_write_ends_in_its_old_process_and_new_calls_go_to_the_new_one() -> None:
    world = running_fabric(limits=Limits())
    [old] = processes(world, "tools")
    long, short = Http(world, "long", "tools", legacy=False), Http(world, "short", "tools", legacy=False)
    long.call("write", delay=2 * FINISH_IN)
    until_started(world, last_request(long))
    observer = restarted(world, "tools")
    assert announced_restart(observer, world.bridges[0], "tools") == Restart(token="t", done=True, calls=1)
    received = len(old.methods)
    short.call("write")
    assert until_answered(world, last_request(short), 1.0) == ""
    assert (old.alive, len(old.methods)) == (True, received)
    world.fault("a long call", lasts=2 * FINISH_IN)
    assert until_answered(world, last_request(long), 2 * FINISH_IN + 1.0) == ""
    assert world.run_until(lambda: not old.alive, 1.0)
    assert_all_rules_held(world, long, short)


def test_a_read_does_not_keep_an_old_process_alive() -> None:
    world = running_fabric(limits=Limits())
    [old] = processes(world, "tools")
    client = Http(world, "h", "tools", legacy=False)
    client.call("read", delay=2 * FINISH_IN)
    until_started(world, last_request(client))
    restarted(world, "tools")
    world.fault("a long call", lasts=4 * FINISH_IN)
    assert world.run_until(lambda: not old.alive, FINISH_IN + 1.0)
    assert until_answered(world, last_request(client), 3 * FINISH_IN) == ""
    assert len(world.started[last_request(client).key]) == 2
    assert_all_rules_held(world, client)


def test_a_call_started_in_an_old_process_is_not_retryable_when_it_finds_no_room_again() -> None:
    world = running_fabric(slots=1, limits=Limits(idle=FINISH_IN + 8.0))
    client, others = Http(world, "h", "tools", legacy=False), LongLink(world, "o", "tools", legacy=False)
    client.call("read", delay=4 * FINISH_IN)
    until_started(world, last_request(client))
    restarted(world, "tools")
    for _ in range(25):  # they are sent again each second, so that one of them has the slot before the first comes back
        others.call("write", delay=2 * FINISH_IN, progress=20)
        world.run(0.04)
    world.fault("a full server", lasts=6 * FINISH_IN)
    assert world.run_until(lambda: any(other.key in world.started for other in others.requests), FINISH_IN)
    assert until_answered(world, last_request(client), FINISH_IN) == "overloaded"
    assert_all_rules_held(world, client, others)


def test_a_session_keeps_its_old_process_until_it_ends_and_a_later_one_gets_a_new_process() -> None:
    world = running_fabric()
    first = LongLink(world, "first", "old", legacy=True)
    first.call("write")
    assert until_answered(world, last_request(first), 2.0) == ""
    before = processes(world, "old")
    [used] = [process for process in processes(world, "old") if process.methods]
    observer = restarted(world, "old")
    assert announced_restart(observer, world.bridges[0], "old") == Restart(token="t", done=True, sessions=1)
    first.call("write")
    assert until_answered(world, last_request(first), 1.0) == ""
    assert used.alive
    second = LongLink(world, "second", "old", legacy=True)
    second.call("write")
    assert until_answered(world, last_request(second), 2.0) == ""
    [others] = [process for process in processes(world, "old") if process.methods and process is not used]
    assert others not in before
    assert_all_rules_held(world, first, second)
    assert not used.alive


def test_a_restart_whose_new_process_does_not_start_leaves_the_old_ones_in_service() -> None:
    world = running_fabric()
    [old] = processes(world, "tools")
    world.settings.behaviours["tools"] = Behaviour(exits_before_initialize=True)
    observer = restarted(world, "tools")
    answer = announced_restart(observer, world.bridges[0], "tools")
    assert answer is not None
    assert answer.failure == "simulated crash"
    client = Http(world, "h", "tools", legacy=False)
    client.call("write")
    assert until_answered(world, last_request(client), 1.0) == ""
    assert processes(world, "tools") == [old]
    assert world.bridges[0].core.served(0.0)["tools"].health is Health.HEALTHY
    assert_all_rules_held(world, client)


def test_without_room_for_another_process_the_old_one_ends_first_and_calls_wait() -> None:
    world = running_fabric(most=1)
    [old] = processes(world, "tools")
    long, short = Http(world, "long", "tools", legacy=False), Http(world, "short", "tools", legacy=False)
    long.call("write", delay=3.0)
    until_started(world, last_request(long))
    observer = world.observer()
    world.run(1.0)
    observer.restart("tools", "t")
    world.run(0.5)
    short.call("write")
    world.run(0.5)
    assert processes(world, "tools") == [old]
    assert not last_request(short).answers
    assert until_answered(world, last_request(long), 2.0) == ""
    assert until_answered(world, last_request(short), 2.0) == ""
    assert old not in processes(world, "tools")
    assert len(processes(world, "tools")) == 1
    assert_all_rules_held(world, long, short)


def test_a_second_restart_that_fails_leaves_the_old_process_in_service() -> None:
    world = running_fabric(most=2, limits=Limits())
    session, client = LongLink(world, "l", "both", legacy=True), Http(world, "h", "both", legacy=False)
    session.call("write")
    client.call("write", delay=6.0)
    until_started(world, last_request(client))
    assert until_answered(world, last_request(session), 2.0) == ""
    observer = world.observer()
    world.run(1.0)
    observer.restart("both", "first")
    world.run(0.5)
    session.leave()
    world.run(0.5)
    world.settings.behaviours["both"] = Behaviour(exits_before_initialize=True, reads_after=10.0)
    observer.restart("both", "second")
    assert until_answered(world, last_request(client), 6.0) == ""
    for _ in range(20):
        world.run(1.0)
        client.call("read")
        assert until_answered(world, last_request(client), 1.0) == ""
    answer = announced_restart(observer, world.bridges[0], "both")
    assert answer is not None
    assert (answer.done, answer.failure) == (True, "simulated crash")
    assert_all_rules_held(world, session, client)


def test_a_call_that_waits_for_client_input_goes_on_in_the_old_process() -> None:
    world = running_fabric(limits=Limits())
    [old] = processes(world, "tools")
    client = Http(world, "h", "tools", legacy=False)
    params = {"name": "write", "arguments": {"key": "k", "input": True}}
    question = post(world, client, "tools/call", dict(params))
    assert world.run_until(lambda: question.over, 2.0)
    restarted(world, "tools")
    world.run(INPUT_IN / 2)
    retry = params | {"requestState": question.frames[-1]["result"]["requestState"], "inputResponses": {}}
    answered = post(world, client, "tools/call", retry)
    assert world.run_until(lambda: answered.over, 2.0)
    assert answered.frames[-1]["result"]["key"] == "k"
    assert world.run_until(lambda: not old.alive, INPUT_IN)
    assert_all_rules_held(world, client)


def test_a_subscription_goes_on_in_the_new_process() -> None:
    world = running_fabric()
    [old] = processes(world, "tools")
    client = Http(world, "h", "tools", legacy=False)
    subscription = post(world, client, "subscriptions/listen", {"notifications": {}})
    world.run(1.0)
    restarted(world, "tools")
    assert world.run_until(lambda: not old.alive, FINISH_IN + 1.0)
    received = len(subscription.frames)
    world.run(2.0)
    assert (len(subscription.frames) > received, subscription.over) == (True, False)
    world.edges[0].hang_up(subscription.link)
    assert_all_rules_held(world, client)


def test_two_restarts_requested_at_once_are_each_done_once() -> None:
    world = running_fabric()
    first, second = world.observer(), world.observer()
    world.run(1.0)
    first.restart("tools", "a")
    second.restart("tools", "b")
    world.run(3.0)
    [settled] = processes(world, "tools")
    world.run(5.0)
    assert processes(world, "tools") == [settled]
    assert int(settled.child.partition("#")[2]) <= 3

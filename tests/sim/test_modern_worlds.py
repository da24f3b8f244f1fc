"""Worlds of modern requests: calls that wait for input, subscriptions, logs, cancels; and of calls that no bridge can serve."""

from __future__ import annotations

import pytest

from fabric.core.edge.correlation import Limits
from fabric.core.peers.lease import LEASE
from fabric.envelope import Kind
from tests.sim.clients import LongLink
from tests.sim.http_clients import Http
from tests.sim.raw_posts import post
from tests.sim.running_fabric import (
    assert_all_rules_held,
    both_brokers,
    delay_packs,
    last_request,
    running_fabric,
    until_answered,
    until_started,
)
from tests.sim.servers import LOG_LEVEL, Behaviour
from tests.sim.world import World

pytestmark = pytest.mark.requirement("R11")


@both_brokers
@pytest.mark.requirement("P05")
def test_progress_keeps_a_call_alive_whose_client_accepts_only_the_answer(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, limits=Limits(idle=1.0, absolute=60.0))
    client = Http(world, "c", "tools", legacy=False, answer_only=True)
    client.call("write", delay=3.0, progress=8)
    assert_all_rules_held(world, client)
    assert [(request.answers[0].reason, request.progress) for request in client.requests] == [("", 0.0)]


@both_brokers
@pytest.mark.parametrize("unreadable", ["named", "without id"])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_call_with_an_unreadable_answer_fails_at_once_and_never_runs_again(
    keeps: bool, unreadable: str, legacy: bool
) -> None:
    server = "old" if legacy else "tools"
    world = running_fabric(keeps=keeps, behaviours={server: Behaviour(unreadable=unreadable)})
    client = Http(world, "c", server, legacy=legacy)
    for tool in ("read", "write"):
        client.call(tool)
        assert world.run_until(lambda: any(each.tool == tool and each.answers for each in client.requests), 1.0)  # noqa: B023 - it is called at once
        assert last_request(client).answers[0].reason == "invalid"
        assert len(world.started[last_request(client).key]) == 1
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- calls that wait for input
@both_brokers
def test_a_retry_with_input_reaches_the_process_that_asked_for_it_through_any_edge(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2, bridges=4)
    client = Http(world, "c", "tools", legacy=False)
    for number in range(8):
        params = {"name": "write", "arguments": {"key": f"k{number}", "input": True}}
        question = post(world, client, "tools/call", dict(params))
        assert world.run_until(lambda: question.over, 2.0)  # noqa: B023 - it is called at once
        state = question.frames[-1]["result"]["requestState"]
        answered = post(world, client, "tools/call", params | {"requestState": state, "inputResponses": {}}, edge=1)
        assert world.run_until(lambda: answered.over, 2.0)  # noqa: B023 - it is called at once
        assert answered.frames[-1]["result"]["key"] == f"k{number}"
    assert_all_rules_held(world, client)


@both_brokers
def test_a_retry_with_input_whose_process_is_gone_never_runs_in_another(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = Http(world, "c", "tools", legacy=False)
    params = {"name": "write", "arguments": {"key": "k", "input": True}}
    question = post(world, client, "tools/call", dict(params))
    assert world.run_until(lambda: question.over, 2.0)
    state = question.frames[-1]["result"]["requestState"]
    world.fault("kill bridge", lasts=0.0)
    world.bridges[0].kill()
    world.bridge()
    for wait in (0.1, LEASE + 1.0):
        world.run(wait)
        retried = post(world, client, "tools/call", params | {"requestState": state})
        assert world.run_until(lambda: retried.over, LEASE + 1.0)  # noqa: B023 - it is called at once
        assert retried.frames[-1]["error"]["data"]["reason"] == "outcome_unknown"
    assert "k" not in world.started
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- subscriptions and logs
@both_brokers
def test_a_subscription_gets_notices_under_its_own_id_and_moves_when_its_bridge_dies(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2)
    client = Http(world, "c", "tools", legacy=False)
    subscriptions = [post(world, client, "subscriptions/listen", {"notifications": {}}, id=id) for id in (b"5", b'"5"')]
    for _ in range(4):
        world.run(1.0)
        world.fault("kill bridge", lasts=0.0)
        world.bridges[0].kill()
        world.bridge()
        world.run(LEASE + 1.0)
    for subscription, id in zip(subscriptions, (5, "5"), strict=True):
        named = [notice["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] for notice in subscription.frames]
        assert len(named) > 4
        assert set(map(repr, named)) == {repr(id)}
    count = [len(subscription.frames) for subscription in subscriptions]
    world.run(1.0)
    assert all(len(subscription.frames) > before for subscription, before in zip(subscriptions, count, strict=True))
    for subscription in subscriptions:
        world.edges[0].hang_up(subscription.link)
    world.run(0.5)
    assert not any(bridge.core.jobs.open for bridge in world.bridges)
    assert_all_rules_held(world, client)


@both_brokers
def test_log_messages_reach_only_the_request_that_asked_for_them(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = Http(world, "c", "tools", legacy=False)
    calls = {}
    for number in range(6):
        arguments = {"key": f"k{number}", "delay": 0.2}
        meta = {LOG_LEVEL: "info"} if number % 2 else {}
        calls[number] = post(world, client, "tools/call", {"name": "read", "arguments": arguments, "_meta": meta})
    assert world.run_until(lambda: all(call.over for call in calls.values()), 5.0)
    for number, call in calls.items():
        logs = [frame["params"]["data"] for frame in call.frames if frame.get("method") == "notifications/message"]
        assert logs == ([f"k{number}"] if number % 2 else [])
    assert_all_rules_held(world, client)


def test_log_messages_of_a_second_run_do_not_reach_the_client() -> None:
    world = running_fabric(bridges=2)
    slow = world.bridges[0].name
    client = Http(world, "c", "tools", legacy=False)
    world.broker.intercept = lambda process, pack: 0.7 if pack.source == slow and pack.generation and pack.envelopes else 0.0
    for number in range(6):
        arguments = {"key": f"k{number}", "delay": 1.0}
        prompt = post(world, client, "prompts/get", {"name": "p", "arguments": arguments, "_meta": {LOG_LEVEL: "info"}})
        assert world.run_until(lambda: prompt.over, 8.0)  # noqa: B023 - it is called at once
        assert len([frame for frame in prompt.frames if frame.get("method") == "notifications/message"]) <= 1
    assert any(len(starts) > 1 for starts in world.started.values())
    world.broker.intercept = None
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- cancels
@both_brokers
@pytest.mark.parametrize("long", [False, True], ids=["http", "long link"])
def test_a_cancelled_call_stops_at_its_server_and_frees_its_slot(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps, slots=1)
    client = LongLink(world, "c", "tools", legacy=False) if long else Http(world, "c", "tools", legacy=False)
    for tool in ("write", "read"):
        client.call(tool, delay=20.0, cancel_after=0.3)
        until_started(world, last_request(client))
        world.run(0.5)
        assert not world.bridges[0].core.jobs.open
    client.call("write")
    assert until_answered(world, last_request(client), 2.0) == ""
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- no bridge, no server
@both_brokers
def test_without_a_bridge_the_first_call_fails_after_a_lease_and_later_ones_at_once(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=0)
    world.fault("no bridge", lasts=10.0)
    client = Http(world, "c", "tools", legacy=False)
    client.call("write")
    assert until_answered(world, last_request(client), LEASE + 1.5) == "no_worker"
    assert last_request(client).answers[0].retryable
    client.call("read")
    assert until_answered(world, last_request(client), 0.1) == "no_worker"
    unknown = Http(world, "u", "nowhere", legacy=False)
    unknown.call("write")
    assert until_answered(world, last_request(unknown), 0.1) == "unknown_server"
    world.bridge()
    world.run(1.5)
    client.call("write")
    assert until_answered(world, last_request(client), 1.0) == ""
    assert_all_rules_held(world, client, unknown)


@both_brokers
def test_a_call_that_kills_its_server_each_time_fails_after_three_starts(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2)
    world.fault("server crash", lasts=10.0)
    client = Http(world, "c", "tools", legacy=False)
    client.call("read", delay=1.0)
    request = last_request(client)
    seen = 0
    while not request.answers:
        assert world.run_until(lambda: bool(request.answers) or len(world.started.get(request.key, [])) > seen, 8.0)  # noqa: B023
        if not request.answers:
            seen = len(world.started[request.key])
            bridge = next(bridge for bridge in world.bridges if bridge.name == world.started[request.key][-1])
            bridge.touched.append("server crash")
            next(child for child in bridge.children.values() if child.child.startswith("tools")).crash()
    assert seen == 3
    assert request.answers[0].reason == "unavailable"
    assert not request.answers[0].retryable
    assert_all_rules_held(world, client)


def crash_all(world: World, server: str) -> None:
    """Crash every process of this server."""
    for bridge in world.bridges:
        bridge.touched.append("server crash")
        for child in [child for child in bridge.children.values() if child.child.startswith(f"{server}#")]:
            child.crash()


@both_brokers
def test_a_read_outlives_the_crash_of_all_processes_of_its_server(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2, starting=0.6)
    world.fault("server crash", lasts=3.0)
    client = Http(world, "c", "both", legacy=False)
    client.call("read", delay=0.5)
    until_started(world, last_request(client))
    crash_all(world, "both")
    assert until_answered(world, last_request(client), 3.0) == ""
    assert len(world.started[last_request(client).key]) == 2
    assert_all_rules_held(world, client)


@both_brokers
def test_a_read_outlives_repeated_crashes_of_a_server_that_is_starting(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, starting=0.6)
    world.fault("server crash", lasts=5.0)
    client = Http(world, "c", "both", legacy=False)
    client.call("read", delay=0.5)
    until_started(world, last_request(client))
    for _ in range(3):
        crash_all(world, "both")
        assert world.run_until(lambda: any(child.startswith("both#") for child in world.bridges[0].children), 3.0)
    assert until_answered(world, last_request(client), 3.0) == ""
    assert_all_rules_held(world, client)


@both_brokers
def test_a_full_lane_refuses_calls_and_passes_cancels_and_answers(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = LongLink(world, "c", "old", legacy=True)
    world.run(0.5)
    edge, bridge = world.edges[0], world.bridges[0]
    edge.core.member.pairs._lane_bytes = 10_000
    client.call("write", delay=30.0)
    first = last_request(client)
    until_started(world, first)
    world.fault("deafness", lasts=2.0)
    bridge.touched.append("deafness")
    world.broker.cut_off(bridge, 2.0, deaf=True, mute=False)
    for _ in range(3):
        client.call("write", padding="x" * 5000)
    assert last_request(client).answers[0].reason == "overloaded"
    assert last_request(client).answers[0].retryable
    client.cancel(first)
    world.run(2.2)
    assert first.key in world.started
    assert not [job for job in bridge.core.jobs.open.values() if job.client_id == first.id]
    assert_all_rules_held(world, client)


@both_brokers
def test_a_lost_grant_is_sent_again(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = Http(world, "c", "tools", legacy=False)
    client.call("read")
    world.run(0.5)
    delay_packs(world, Kind.GRANT, world.edges[0].name, None)
    client.call("write")
    world.run(0.5)
    assert last_request(client).key not in world.started
    world.broker.intercept = None
    assert until_answered(world, last_request(client), 2.0) == ""
    assert_all_rules_held(world, client)

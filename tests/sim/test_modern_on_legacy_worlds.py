"""Worlds of modern clients and servers that only have revisions with sessions: lists, calls, input, logs, changes, and ends."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.bridge.processes.initialized import IDLE
from fabric.core.bridge.speaking.asking_calls import GRACE
from fabric.core.bridge.speaking.modern import INPUT_IN
from fabric.core.peers.lease import LEASE
from tests.sim.http_clients import Http
from tests.sim.raw_posts import RawPost, post
from tests.sim.running_fabric import assert_all_rules_held, both_brokers, running_fabric
from tests.sim.servers import LOG_LEVEL, SimServer
from tests.sim.world import World

pytestmark = pytest.mark.requirement("P03")

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
CLIENT = "io.modelcontextprotocol/clientInfo"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
ME = {"name": "me", "version": "1"}
SAMPLES = {CAPABILITIES: {"sampling": {}}, CLIENT: ME}


def asked(
    world: World, client: Http, arguments: dict[str, Any], *, edge: int = 0, meta: dict[str, Any] | None = None, **params: Any
) -> RawPost:
    """Call a tool as a client that can be asked for sampling."""
    call = {"name": "write", "arguments": arguments, "_meta": dict(SAMPLES if meta is None else meta)} | params
    return post(world, client, "tools/call", call, edge=edge)


def until_over(world: World, *posts: RawPost, timeout: float = 3.0) -> list[Any]:
    """The last frames of these requests."""
    assert world.run_until(lambda: all(each.over for each in posts), timeout)
    return [each.frames[-1] for each in posts]


def inputs_for(question: dict[str, Any], key: str) -> dict[str, Any]:
    """What a client brings back for this answer."""
    result = question["result"]
    assert result["resultType"] == "input_required"
    responses = {name: {"key": key} for name in result["inputRequests"]}
    return {"requestState": result["requestState"], "inputResponses": responses}


def processes(world: World) -> list[SimServer]:
    """The processes of the legacy server, of all bridges."""
    return [child for bridge in world.bridges for child in bridge.children.values() if child.child.startswith("old#")]


def initialized(world: World) -> list[SimServer]:
    """Those of them that a bridge has initialized, though no session has them."""
    return [child for child in processes(world) if "initialize" in child.methods]


def asking(world: World) -> list[SimServer]:
    """Those that may ask their clients for something."""
    return [process for process in initialized(world) if process.declared]


# ---------------------------------------------------------------- lists and calls
@both_brokers
def test_a_modern_client_discovers_lists_and_calls_a_legacy_server(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = Http(world, "c", "old", legacy=False)
    [discovered] = until_over(world, post(world, client, "server/discover", {}))
    assert discovered["result"] == {
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}},
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s"}},
    }
    [listed] = until_over(world, post(world, client, "tools/list", {}))
    assert len(listed["result"]["tools"]) == 2
    assert (listed["result"]["resultType"], listed["result"]["cacheScope"]) == ("complete", "private")
    [called] = until_over(world, post(world, client, "tools/call", {"name": "read", "arguments": {"key": "k"}}))
    assert (called["result"]["key"], called["result"]["resultType"]) == ("k", "complete")
    assert "ttlMs" not in called["result"]
    assert_all_rules_held(world, client)


@both_brokers
def test_calls_of_clients_that_can_be_asked_nothing_run_side_by_side_in_one_process(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    clients = [Http(world, f"c{number}", "old", legacy=False) for number in range(6)]
    for client in clients:
        client.call("write", delay=1.0)
    assert world.run_until(lambda: all(client.requests and client.requests[-1].answers for client in clients), 4.0)
    [process] = initialized(world)
    assert process.most_running == 6
    assert_all_rules_held(world, *clients)


@pytest.mark.parametrize("method", ["ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"])
def test_a_request_that_the_modern_revision_has_removed_is_refused(method: str) -> None:
    world = running_fabric()
    client = Http(world, "c", "old", legacy=False)
    [refused] = until_over(world, post(world, client, method, {}))
    assert refused["error"]["code"] == -32601
    assert_all_rules_held(world, client)


def test_another_revision_is_refused_with_the_one_that_is_supported() -> None:
    world = running_fabric()
    client = Http(world, "c", "old", legacy=False)
    raw = post(world, client, "tools/list", {})
    [fine] = until_over(world, raw)
    assert "result" in fine
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- input
@both_brokers
def test_a_question_inside_a_call_becomes_a_request_for_input_and_the_retry_goes_on_through_any_edge(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2, bridges=3)
    client = Http(world, "c", "old", legacy=False)
    for number in range(4):
        arguments = {"key": f"k{number}", "ask": 3}
        [answer] = until_over(world, asked(world, client, arguments))
        for round in range(3):
            brought = inputs_for(answer, f"k{number}")
            assert [each["method"] for each in answer["result"]["inputRequests"].values()] == ["sampling/createMessage"]
            [answer] = until_over(world, asked(world, client, arguments, edge=round % 2, **brought))
        assert (answer["result"]["key"], answer["result"]["resultType"]) == (f"k{number}", "complete")
        assert len(world.started[f"k{number}"]) == 1
    assert_all_rules_held(world, client)


def test_questions_that_come_at_once_are_asked_in_as_many_rounds_as_it_takes_and_missing_ones_are_asked_again() -> None:
    world = running_fabric()
    client = Http(world, "c", "old", legacy=False)
    arguments = {"key": "k", "together": 3}
    [answer] = until_over(world, asked(world, client, arguments))
    assert len(answer["result"]["inputRequests"]) == 1
    [answer] = until_over(world, asked(world, client, arguments, **inputs_for(answer, "k")))
    assert len(answer["result"]["inputRequests"]) == 2  # they came while the call was parked
    brought = inputs_for(answer, "k")
    first, second = brought["inputResponses"]
    given = brought | {"inputResponses": {first: {"key": "k"}, "unknown": {"key": "x"}}}
    [answer] = until_over(world, asked(world, client, arguments, **given))
    assert list(answer["result"]["inputRequests"]) == [second]
    [answer] = until_over(world, asked(world, client, arguments, **inputs_for(answer, "k")))
    assert answer["result"]["key"] == "k"
    assert_all_rules_held(world, client)


@both_brokers
def test_a_retry_sent_twice_reaches_the_server_once_and_both_get_its_answer(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2)
    client = Http(world, "c", "old", legacy=False)
    arguments = {"key": "k", "ask": 1, "delay": 0.5}
    [answer] = until_over(world, asked(world, client, arguments))
    brought = inputs_for(answer, "k")
    attempts = [asked(world, client, arguments, edge=edge, **brought) for edge in (0, 1)]
    for answered in until_over(world, *attempts):
        assert answered["result"]["key"] == "k"
    [late] = until_over(world, asked(world, client, arguments, **brought))
    assert late["result"]["key"] == "k"
    assert_all_rules_held(world, client)


def test_a_state_that_is_forged_foreign_or_of_another_call_is_refused_and_reaches_no_server() -> None:
    world = running_fabric()
    client, other = (Http(world, name, "old", legacy=False) for name in ("c", "other"))
    arguments = {"key": "k", "ask": 2}
    [first] = until_over(world, asked(world, client, arguments))
    brought = inputs_for(first, "k")
    state = brought["requestState"]
    changed = {"key": "changed", "ask": 2}
    forged = state[:-1] + ("0" if state[-1] != "0" else "1")
    attempts = [
        asked(world, client, arguments, **brought | {"requestState": forged}),
        asked(world, client, changed, **brought),
        asked(world, other, arguments, **brought),
    ]
    for refused in until_over(world, *attempts):
        assert refused["error"]["code"] == -32602
        assert "requestState" in refused["error"]["message"]
    [second] = until_over(world, asked(world, client, arguments, **brought))
    [done] = until_over(world, asked(world, client, arguments, **inputs_for(second, "k")))
    assert done["result"]["key"] == "k"
    [replayed] = until_over(world, asked(world, client, arguments, **brought))
    assert replayed["result"]["requestState"] == second["result"]["requestState"]
    assert world.started.keys() == {"k"}
    assert_all_rules_held(world, client, other)


def test_a_parked_call_whose_client_never_comes_back_is_cancelled_and_its_process_serves_again() -> None:
    world = running_fabric()
    client = Http(world, "c", "old", legacy=False)
    arguments = {"key": "k", "ask": 1}
    [answer] = until_over(world, asked(world, client, arguments))
    [process] = asking(world)
    world.run(INPUT_IN + 2.0)
    assert "notifications/cancelled" in process.methods
    assert world.deeds["question refused"] == 1
    [refused] = until_over(world, asked(world, client, arguments, **inputs_for(answer, "k")))
    assert refused["error"]["code"] == -32602
    [fine] = until_over(world, asked(world, client, {"key": "next"}))
    assert fine["result"]["key"] == "next"
    assert process.methods.count("tools/call") == 2  # its answer to the cancelled call has shown that it is free
    assert_all_rules_held(world, client)


@both_brokers
def test_a_call_that_is_cancelled_ends_at_its_server_and_no_other_gets_its_process_before_that(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = Http(world, "c", "old", legacy=False)
    arguments = {"key": "k", "ask": 1, "delay": 20.0}
    [answer] = until_over(world, asked(world, client, arguments))
    [process] = asking(world)
    retried = asked(world, client, arguments, **inputs_for(answer, "k"))
    world.run(0.5)
    world.edges[0].hang_up(retried.link)
    world.run(0.5)
    assert "notifications/cancelled" in process.methods
    [other] = until_over(world, asked(world, client, {"key": "other"}))
    assert other["result"]["key"] == "other"
    assert process.methods.count("tools/call") == 1
    world.run(GRACE + 2.0)
    assert not process.alive
    assert_all_rules_held(world, client)


@both_brokers
def test_a_retry_whose_bridge_has_died_has_an_unknown_outcome_and_runs_nowhere_else(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = Http(world, "c", "old", legacy=False)
    arguments = {"key": "k", "ask": 1}
    [answer] = until_over(world, asked(world, client, arguments))
    world.fault("kill bridge", lasts=0.0)
    world.bridges[0].kill()
    world.bridge()
    for wait in (0.1, LEASE + 1.0):
        world.run(wait)
        [gone] = until_over(world, asked(world, client, arguments, **inputs_for(answer, "k")), timeout=LEASE + 1.0)
        assert gone["error"]["data"]["reason"] == "outcome_unknown"
    assert len(world.started["k"]) == 1
    assert_all_rules_held(world, client)


@both_brokers
def test_a_retry_whose_process_has_died_has_an_unknown_outcome(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = Http(world, "c", "old", legacy=False)
    arguments = {"key": "k", "ask": 1}
    [answer] = until_over(world, asked(world, client, arguments))
    world.fault("server crash", lasts=1.0)
    world.bridges[0].touched.append("server crash")
    [process] = asking(world)
    process.crash()
    world.run(1.0)
    [gone] = until_over(world, asked(world, client, arguments, **inputs_for(answer, "k")))
    assert gone["error"]["data"]["reason"] == "outcome_unknown"
    [fine] = until_over(world, asked(world, client, {"key": "next"}))
    assert fine["result"]["key"] == "next"
    assert_all_rules_held(world, client)


@pytest.mark.parametrize("asks_for", ["elicitation/create", "roots/list", "tasks/get", "sampling/createMessage"])
def test_a_client_is_not_asked_for_what_it_has_not_declared(asks_for: str) -> None:
    world = running_fabric()
    client = Http(world, "c", "old", legacy=False)
    meta = {CLIENT: ME} if asks_for.startswith("sampling") else SAMPLES
    arguments = {"key": "k", "ask": 1, "asks_for": asks_for}
    [answer] = until_over(world, asked(world, client, arguments, meta=meta))
    capability_named = asks_for in (
        "elicitation/create",
        "roots/list",
    )  # no others can be told
    assert answer["error"]["code"] == (-32021 if capability_named else -32603)
    assert world.deeds["question refused"] == 1
    assert_all_rules_held(world, client)


@both_brokers
def test_each_kind_of_client_has_processes_of_its_own_which_run_one_call_at_a_time(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = Http(world, "c", "old", legacy=False)
    kinds = [SAMPLES, {CAPABILITIES: {"roots": {}}, CLIENT: ME}]
    calls = [asked(world, client, {"key": f"k{number}", "delay": 0.5}, meta=dict(kinds[number % 2])) for number in range(6)]
    assert {answer["result"]["key"] for answer in until_over(world, *calls)} == {f"k{number}" for number in range(6)}
    made = asking(world)
    assert [process.most_running for process in made] == [1] * 6
    assert sorted(str(process.declared) for process in made) == ["{'roots': {}}"] * 3 + ["{'sampling': {}}"] * 3
    again = [asked(world, client, {"key": f"again{number}"}, meta=dict(kinds[0])) for number in range(3)]
    until_over(world, *again)
    assert len(initialized(world)) == len(made) + 1  # none was made anew; one is of the edge's own list of tools
    world.run(IDLE + 2.0)
    assert not initialized(world)
    assert_all_rules_held(world, client)


@both_brokers
def test_idle_processes_give_way_to_other_kinds_and_to_sessions(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, most=2)
    client = Http(world, "c", "old", legacy=False)
    for number in range(4):
        meta = {CAPABILITIES: {"sampling": {}}, CLIENT: {"name": f"n{number}", "version": "1"}}
        [answer] = until_over(world, asked(world, client, {"key": f"k{number}"}, meta=meta), timeout=5.0)
        assert answer["result"]["key"] == f"k{number}"
        assert len(processes(world)) <= 2
    session = Http(world, "s", "old", legacy=True)
    session.call("write")
    assert world.run_until(lambda: any(each.tool and each.answers for each in session.requests), 5.0)
    assert_all_rules_held(world, client, session)


# ---------------------------------------------------------------- logs
@both_brokers
def test_logs_reach_only_the_calls_that_asked_for_them_at_their_own_levels(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = Http(world, "c", "old", legacy=False)
    levels = ["debug", "", "error", "warning", ""]
    calls = []
    for number, level in enumerate(levels):
        meta = {CLIENT: ME} | ({LOG_LEVEL: level} if level else {})
        arguments = {"key": f"k{number}", "delay": 0.2, "log": ["debug", "warning", "error"]}
        calls.append(asked(world, client, arguments, meta=meta))
    until_over(world, *calls)
    logs = [
        [(frame["params"]["level"], frame["params"]["data"]) for frame in call.frames if frame.get("method")] for call in calls
    ]
    assert logs == [
        [("debug", "k0"), ("warning", "k0"), ("error", "k0")],
        [],
        [("error", "k2")],
        [("warning", "k3"), ("error", "k3")],
        [],
    ]
    [unknown] = until_over(world, asked(world, client, {"key": "x"}, meta={LOG_LEVEL: "loud"}))
    assert unknown["error"]["code"] == -32602
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- changes
@both_brokers
def test_listeners_get_the_changes_that_they_asked_for_and_their_server_allows(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = Http(world, "c", "old", legacy=False)
    wants = {"toolsListChanged": True, "promptsListChanged": True, "resourceSubscriptions": ["a", "b"]}
    both = post(world, client, "subscriptions/listen", {"notifications": wants}, id=b"5")
    one = post(world, client, "subscriptions/listen", {"notifications": {"resourceSubscriptions": ["b"]}}, id=b'"5"')
    world.run(1.0)
    [process] = initialized(world)
    assert sorted(process.subscribed) == ["a", "b"]
    process.send(method="notifications/tools/list_changed")
    process.send(method="notifications/prompts/list_changed")
    for uri in ("a", "b", "c"):
        process.send(method="notifications/resources/updated", params={"uri": uri})
    world.run(1.0)
    allowed = {"toolsListChanged": True, "resourceSubscriptions": ["a", "b"]}
    assert both.frames[0]["params"] == {"_meta": {SUBSCRIPTION: 5}, "notifications": allowed}
    assert [(frame["method"], frame["params"].get("uri")) for frame in both.frames[1:]] == [
        ("notifications/tools/list_changed", None),
        ("notifications/resources/updated", "a"),
        ("notifications/resources/updated", "b"),
    ]
    assert [frame["params"].get("uri") for frame in one.frames] == [None, "b"]
    assert [frame["params"]["_meta"] for frame in one.frames] == [{SUBSCRIPTION: "5"}] * 2
    world.edges[0].hang_up(both.link)
    world.run(0.5)
    assert process.subscribed == ["b"]
    world.edges[0].hang_up(one.link)
    world.run(0.5)
    assert process.subscribed == []
    assert_all_rules_held(world, client)


def test_a_change_that_a_call_causes_in_its_own_process_reaches_listeners() -> None:
    world = running_fabric()
    client = Http(world, "c", "old", legacy=False)
    listens = post(world, client, "subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    call = asked(world, client, {"key": "k", "delay": 1.0})
    world.run(0.7)
    [process] = asking(world)
    process.send(method="notifications/tools/list_changed")
    until_over(world, call)
    assert [frame["method"] for frame in listens.frames[1:]] == ["notifications/tools/list_changed"]
    assert not [frame for frame in call.frames if "method" in frame]
    world.edges[0].hang_up(listens.link)
    assert_all_rules_held(world, client)

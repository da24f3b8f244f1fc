"""Worlds of legacy clients at a server that speaks only the modern revision: the bridge stands between the two eras."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fabric.core.events import RequestPosted
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message
from tests.sim.clients import LongLink
from tests.sim.http_clients import Http
from tests.sim.modern_only import ModernOnly
from tests.sim.raw_posts import RawPost
from tests.sim.requests import frame
from tests.sim.running_fabric import assert_all_rules_held, last_request, running_fabric, until_answered, until_started
from tests.sim.servers import Behaviour, Era
from tests.sim.world import World

both_links = pytest.mark.parametrize("long", [False, True], ids=["http", "long link"])
pytestmark = [pytest.mark.requirement("P04", "R11"), both_links]

SERVERS = {"new": Era.MODERN_ONLY}
TOOLS_CHANGED, UPDATED = "notifications/tools/list_changed", "notifications/resources/updated"
LOGGED = "notifications/message"


def modern_only(**settings: Any) -> World:
    return running_fabric(servers=SERVERS, **settings)


def open_client(world: World, long: bool, name: str = "c", server: str = "new", **arguments: Any) -> Http | LongLink:
    """A legacy client whose session is open, and whose process listens to changes."""
    client = (LongLink if long else Http)(world, name, server, legacy=True, **arguments)
    assert until_answered(world, last_request(client), 5.0) == ""
    world.run(0.5)
    return client


def process(world: World, client: Http | LongLink | None = None) -> ModernOnly:
    """The process of the newest session."""
    bridge = world.bridges[-1]
    [*_, session] = bridge.core.sessions.open.values()
    child = bridge.children[session.child]
    assert isinstance(child, ModernOnly)
    return child


def asked(world: World, client: Http | LongLink, method: str, **params: Any) -> Any:
    """Make a request of a session; its response."""
    if isinstance(client, LongLink):
        edge = client.edge
        assert edge is not None
        request = client.new_request(edge, None, method)
        request.key, request.session = "", client.link
        client.write(frame(request.id, method, params))
        assert world.run_until(lambda: bool(request.answers), 5.0)
        return json.loads(request.answer)
    edge = world.edges[0]
    post = RawPost(client, f"{client.name}/raw{len(edge.links)}-{world.now}", client.session)
    edge.links[post.link] = post
    edge.feed(RequestPosted(post.link, client.server, client.name, frame(b'"raw"', method, params), client.session, (), "http"))
    assert world.run_until(lambda: post.over, 5.0)
    return post.frames[-1]


def heard(client: Http | LongLink, method: str) -> list[Message]:
    """The notifications of this method that belong to no request."""
    return [message for message in client.notifications if message.method == method]


# ---------------------------------------------------------------- opening
def test_the_handshake_is_answered_from_discovery(long: bool) -> None:
    world = modern_only()
    client = open_client(world, long)
    opened = json.loads(client.requests[0].answer)["result"]
    assert opened["protocolVersion"] == "2025-11-25"
    assert opened["serverInfo"] == {"name": "new", "version": "1", "icons": []}
    assert opened["instructions"] == "Be quick."
    assert "extensions" not in opened["capabilities"]
    assert opened["capabilities"]["resources"] == {"subscribe": True, "listChanged": True}
    assert_all_rules_held(world, client)


def test_initialize_is_asked_of_a_server_only_once(long: bool) -> None:
    world = modern_only()
    clients = []
    for name in ("a", "b", "c"):
        clients.append(open_client(world, long, name))
        clients[-1].call("write")
        assert until_answered(world, last_request(clients[-1]), 2.0) == ""
    asked = [method for child in world.bridges[0].children.values() for method in child.methods if method == "initialize"]
    assert len(asked) == 1
    assert "legacy" not in world.bridges[0].core.pools["new"].eras
    assert_all_rules_held(world, *clients)


def test_a_server_that_lists_only_the_modern_revision_and_takes_initialize_gets_legacy_frames(long: bool) -> None:
    world = running_fabric(servers={"both": Era.MODERN})
    client = open_client(world, long, server="both")
    client.call("write", ask=True)
    assert until_answered(world, last_request(client), 2.0) == ""
    assert "legacy" in world.bridges[0].core.pools["both"].eras
    assert_all_rules_held(world, client)


def test_a_server_that_exits_on_initialize_gets_none_again(long: bool) -> None:
    world = modern_only(behaviours={"new": Behaviour(exits_on_initialize=True)})
    world.fault("server crash", lasts=2.0)
    client = (LongLink if long else Http)(world, "c", "new", legacy=True)
    assert until_answered(world, client.requests[0], 5.0) == "unavailable"
    assert world.run_until(lambda: len(client.requests) > 1 and bool(client.requests[-1].answers), 5.0)
    assert client.requests[-1].answers[0].reason == ""
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- requests
def test_calls_and_lists_are_answered_and_progress_reaches_its_call(long: bool) -> None:
    world = modern_only()
    client = open_client(world, long)
    for tool in ("read", "write"):
        client.call(tool, delay=0.5, progress=4)
        assert until_answered(world, last_request(client), 5.0) == ""
        assert last_request(client).progress == 4
    listed = asked(world, client, "tools/list")["result"]
    assert [tool["name"] for tool in listed["tools"]] == ["read", "write"]
    assert "ttlMs" not in listed
    assert_all_rules_held(world, client)


def test_pings_and_log_levels_are_answered_by_the_bridge(long: bool) -> None:
    world = modern_only()
    client = open_client(world, long)
    assert asked(world, client, "ping")["result"] == {}
    assert asked(world, client, "logging/setLevel", level="loud")["error"]["code"] == jsonrpc.INVALID_PARAMS
    client.call("write")
    assert until_answered(world, last_request(client), 5.0) == ""
    assert not heard(client, LOGGED)
    assert asked(world, client, "logging/setLevel", level="warning")["result"] == {}
    client.call("write")
    assert until_answered(world, last_request(client), 5.0) == ""
    assert [json.loads(message.frame)["params"]["level"] for message in heard(client, LOGGED)] == ["warning"]
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- input
def test_a_client_that_accepts_only_answers_is_asked_on_its_sessions_stream(long: bool) -> None:
    world = modern_only()
    client = open_client(world, long) if long else open_client(world, long, answer_only=True)
    client.call("write", rounds=2, inputs=2)
    assert until_answered(world, last_request(client), 5.0) == ""
    assert_all_rules_held(world, client)


@pytest.mark.parametrize(("rounds", "inputs"), [(1, 1), (1, 3), (3, 2)])
def test_the_input_that_a_server_requires_is_asked_of_the_client(long: bool, rounds: int, inputs: int) -> None:
    world = modern_only()
    client = open_client(world, long)
    client.call("write", rounds=rounds, inputs=inputs)
    assert until_answered(world, last_request(client), 5.0) == ""
    assert world.questions == rounds
    assert_all_rules_held(world, client)


def test_calls_that_wait_for_input_do_not_take_each_others(long: bool) -> None:
    world = modern_only()
    client = open_client(world, long)
    for _ in range(4):
        client.call("write", rounds=2, inputs=2)
    assert world.run_until(lambda: not client.waits, 5.0)
    assert {request.answers[0].reason for request in client.requests} == {""}
    assert_all_rules_held(world, client)


def test_a_call_is_made_again_for_a_server_that_asks_only_for_its_state(long: bool) -> None:
    world = modern_only()
    client = open_client(world, long)
    client.call("write", states=2)
    assert until_answered(world, last_request(client), 0.5) == ""
    client.call("write", states=6)
    begun = world.now
    assert until_answered(world, last_request(client), 10.0) == ""
    assert world.now - begun > 0.6  # it is not asked without pause
    assert_all_rules_held(world, client)


def test_progress_of_a_later_round_only_grows(long: bool) -> None:
    world = modern_only()
    client = open_client(world, long)
    client.call("write", rounds=2, inputs=1, steps=3)
    assert until_answered(world, last_request(client), 5.0) == ""
    assert last_request(client).progress == 3
    assert_all_rules_held(world, client)


def test_a_call_cancelled_while_its_client_is_asked_leaves_nothing(long: bool) -> None:
    world = modern_only()
    client = open_client(world, long)
    client.replies = False
    client.call("write", rounds=1, inputs=2, cancel_after=0.5)
    world.run(1.0)
    assert len(heard(client, "notifications/cancelled")) == 2
    assert not process(world).cancelled  # the server has forgotten the call
    client.replies = True
    client.call("write")
    assert until_answered(world, last_request(client), 5.0) == ""
    assert_all_rules_held(world, client)


def test_a_call_cancelled_in_a_later_round_is_cancelled_at_its_server(long: bool) -> None:
    world = modern_only()
    client = open_client(world, long)
    client.call("write", rounds=1, inputs=1, delay=20.0, cancel_after=1.0)
    until_started(world, last_request(client))
    world.run(1.5)
    assert len(process(world).cancelled) == 1
    assert not world.bridges[0].core.jobs.open
    assert_all_rules_held(world, client)


def test_a_process_that_ends_in_a_round_ends_its_call(long: bool) -> None:
    world = modern_only()
    client = open_client(world, long)
    world.fault("server crash", lasts=3.0)
    client.replies = False
    client.call("write", rounds=1, inputs=1)
    world.run(0.5)
    world.bridges[0].touched.append("server crash")
    process(world).crash()
    until_answered(world, last_request(client), 5.0) if not long else world.run(1.0)
    client.replies = True
    world.run(2.0)
    client.call("write")
    assert until_answered(world, last_request(client), 10.0) in ("", "session_lost")
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- changes
def test_list_changes_reach_each_client_once(long: bool) -> None:
    world = modern_only()
    clients = [open_client(world, long, name) for name in ("a", "b")]
    process(world).change(TOOLS_CHANGED)
    world.run(0.5)
    assert [len(heard(client, TOOLS_CHANGED)) for client in clients] == [0, 1]
    assert b"subscriptionId" not in heard(clients[1], TOOLS_CHANGED)[0].frame
    assert_all_rules_held(world, *clients)


def test_updates_reach_a_client_from_its_subscribe_to_its_unsubscribe(long: bool) -> None:
    world = modern_only()
    client = open_client(world, long)
    server = process(world)
    for uri in ("x:1", "x:2"):
        assert asked(world, client, "resources/subscribe", uri=uri)["result"] == {}
        server.change(UPDATED, "x:1")
        server.change(TOOLS_CHANGED)
        world.run(0.2)
    assert len(server.listens) == 1
    assert [len(heard(client, method)) for method in (UPDATED, TOOLS_CHANGED)] == [2, 2]
    assert asked(world, client, "resources/unsubscribe", uri="x:1")["result"] == {}
    server.change(UPDATED, "x:1")
    server.change(UPDATED, "x:2")
    world.run(0.2)
    assert len(heard(client, UPDATED)) == 3
    assert asked(world, client, "resources/subscribe", uri="refused:1")["error"]["code"] == jsonrpc.INVALID_PARAMS
    assert_all_rules_held(world, client)


def test_changes_between_two_subscriptions_are_notified_once(long: bool) -> None:
    world = modern_only()
    client = open_client(world, long)
    server = process(world)
    for number in range(20):
        for step in range(8):
            world.after(step * 0.0004, server.change, TOOLS_CHANGED)
        assert asked(world, client, "resources/subscribe", uri=f"x:{number}")["result"] == {}
        world.run(0.2)
    assert len(heard(client, TOOLS_CHANGED)) == 160
    assert_all_rules_held(world, client)


def test_a_client_is_told_to_refresh_when_its_server_has_ended_the_subscription(long: bool) -> None:
    world = modern_only()
    client = open_client(world, long)
    assert asked(world, client, "resources/subscribe", uri="x:1")["result"] == {}
    process(world).end_listening()
    world.run(3.0)
    assert len(process(world).listens) == 1
    assert [len(heard(client, method)) for method in (UPDATED, TOOLS_CHANGED)] == [1, 1]
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- streams
def test_a_question_that_its_client_missed_comes_again_on_the_resumed_stream(long: bool) -> None:
    world = modern_only(edges=2)
    client = open_client(world, long)
    if isinstance(client, LongLink):
        assert_all_rules_held(world, client)
        return
    client.replies = False
    client.call("write", rounds=2, inputs=1)
    request = last_request(client)
    world.run(1.0)
    end = next(end for end in client.ends if end.request is request)
    client.replies = True
    world.fault("drop")
    request.edge.drop(end.link)
    [question] = client.unanswered
    client.reply_to(question, client.session)  # the next question comes while nobody reads the stream
    assert until_answered(world, request, 5.0) == ""
    assert_all_rules_held(world, client)

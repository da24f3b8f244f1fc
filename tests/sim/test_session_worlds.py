"""Worlds of sessions: which bridge owns one, what ends it, and which stream each message goes to."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.events import FrameArrived, LinkOpened, RequestPosted, SessionEnded, StreamOpened
from fabric.core.peers.lease import LEASE
from fabric.envelope import Kind
from fabric.mcp import jsonrpc
from tests.sim.clients import Client, LongLink
from tests.sim.http_clients import Http
from tests.sim.raw_posts import RawPost
from tests.sim.requests import Request, call, frame, initialize, notification
from tests.sim.running_fabric import (
    assert_all_rules_held,
    both_brokers,
    delay_packs,
    last_request,
    running_fabric,
    until_answered,
    until_started,
)
from tests.sim.world import World

both_links = pytest.mark.parametrize("long", [False, True], ids=["http", "long link"])
pytestmark = pytest.mark.requirement("R11")


def open_client(world: World, name: str = "c", *, long: bool = False, **arguments: Any) -> Client:
    """A legacy client whose session is open."""
    client = LongLink(world, name, "old", legacy=True) if long else Http(world, name, "old", legacy=True, **arguments)
    assert world.run_until(lambda: bool(client.requests and client.requests[0].answers), 5.0)
    assert client.requests[0].answers[0].reason == ""
    world.run(0.1)
    return client


def started_call(client: Client, delay: float = 10.0) -> Request:
    """A call that a server runs."""
    client.call("write", delay=delay)
    until_started(client.world, last_request(client))
    return last_request(client)


# ---------------------------------------------------------------- opening
@both_brokers
@pytest.mark.requirement("L08")
def test_a_slow_initialize_gets_its_session_id_before_its_answer(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    [bridge] = world.bridges
    delay_packs(world, Kind.ANSWER, bridge.name, None)
    client = Http(world, "c", "old", legacy=True)
    world.run(3.0)
    assert client.offered is not None
    assert client.session is None
    world.broker.intercept = None
    assert until_answered(world, client.requests[0], 3.0) == ""
    assert client.session == client.offered
    world.run(0.1)
    client.call("write", delay=0.5, ask=True)
    assert_all_rules_held(world, client)


@both_brokers
@pytest.mark.requirement("L08")
def test_a_session_returned_by_the_bridge_named_in_its_id_is_lost_and_opened_again(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, most=1)
    delay_packs(world, Kind.RETURNED, world.bridges[0].name, 3.0)
    clients = [Http(world, name, "old", legacy=True) for name in ("c1", "c2")]  # the bridge takes both, and has one process
    world.run(2.0)
    [waiting] = [client for client in clients if client.session is None]
    early = waiting.offered
    assert early is not None
    world.broker.intercept = None
    second = world.bridge()
    assert until_answered(world, waiting.requests[0], 5.0) == "session_lost"
    assert world.run_until(lambda: waiting.session is not None, 5.0)
    assert waiting.session != early
    world.run(1.0)
    assert len(second.core.sessions.open) == 1
    assert_all_rules_held(world, *clients)


@both_brokers
@both_links
def test_a_ping_without_a_session_is_answered_at_once(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps)
    for child in list(world.bridges[0].children.values()):
        child.hang()
    [edge], ping = world.edges, frame(b'"p"', "ping", {})
    end = edge.links["link"] = RawPost(Http(world, "c", "old", legacy=False), "link")
    if long:
        edge.feed(LinkOpened("link", "old", "c", "stdio"))
        edge.feed(FrameArrived("link", ping))
        assert end.answer == jsonrpc.empty_result(b'"p"')
        edge.feed(FrameArrived("link", initialize(b"0")))
        world.run(1.0)
        end.answer = b""
        edge.feed(FrameArrived("link", ping))
    else:
        edge.feed(RequestPosted("link", "old", "c", ping, None, (), "http"))
    assert end.answer == jsonrpc.empty_result(b'"p"')
    if long:
        edge.hang_up("link")
    assert_all_rules_held(world)


@both_brokers
@both_links
@pytest.mark.requirement("R10")
def test_an_initialize_delivered_twice_opens_one_session(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2)
    world.broker.doubling = 1.0
    client = open_client(world, long=long)
    world.run(2.0)
    assert sum(len(bridge.core.sessions.open) for bridge in world.bridges) == 1
    started_call(client, 0.1)
    assert_all_rules_held(world, client)


@both_brokers
def test_an_initialize_whose_taken_message_comes_late_opens_one_session(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2)
    delay_packs(world, Kind.TAKEN, world.bridges[0].name, 1.5)
    client = open_client(world)
    world.run(3.0)
    assert sum(len(bridge.core.sessions.open) for bridge in world.bridges) == 1
    assert_all_rules_held(world, client)


@both_brokers
@both_links
def test_a_session_ends_when_its_client_leaves_during_the_initialize(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = LongLink(world, "c", "old", legacy=True) if long else Http(world, "c", "old", legacy=True)
    assert world.run_until(lambda: bool(world.bridges[0].core.sessions.open), 2.0)
    edge = world.edges[0]
    client.leave()
    for link in list(edge.links):
        edge.hang_up(link)
    world.run(1.0)
    assert not world.bridges[0].core.sessions.open
    assert_all_rules_held(world, client)


@both_brokers
@pytest.mark.requirement("D05")
def test_frames_pipelined_behind_an_initialize_reach_the_server_in_order(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = LongLink(world, "c", "old", legacy=True)
    for _ in range(30):
        client.call("write", delay=0.2)
    keys = [request.key for request in client.requests if request.key]
    assert_all_rules_held(world, client)
    assert list(world.started) == keys


@both_brokers
@both_links
def test_a_second_initialize_in_a_session_is_refused_and_the_session_goes_on(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = open_client(world, long=long)
    again = client.new_request(world.edges[0], b"99", "")
    if isinstance(client, Http):
        client.post(world.edges[0], initialize(b"99"), again, client.session)
    elif isinstance(client, LongLink):
        again.session = client.link
        client.write(initialize(b"99"))
    assert "initialized already" in (until_answered(world, again, 0.1) or again.answers[0].message)
    started_call(client, 0.1)
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- through any edge
@both_brokers
def test_a_session_opened_through_one_edge_is_used_through_the_others(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=3, bridges=2)
    client = open_client(world, roams=True)
    for number in range(12):
        client.call("write", delay=0.1, ask=number % 3 == 0)
        world.run(0.15)
    assert len({request.edge.name for request in client.requests}) == 3
    assert_all_rules_held(world, client)
    assert all(request.answers[0].reason == "" for request in client.requests)


@both_brokers
def test_an_http_session_goes_on_through_another_edge_when_its_edge_is_killed(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2)
    client = open_client(world)
    session = client.session_id
    lost = started_call(client, 1.0)
    world.fault("kill edge", lasts=0.0)
    lost.edge.kill()
    client.call("write", delay=0.1)
    assert until_answered(world, last_request(client), 2.0) == ""
    assert client.session_id == session
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- messages that reach their client
@both_brokers
@pytest.mark.requirement("P09")
@pytest.mark.parametrize("at_once", [False, True], ids=["alone", "beside another"])
def test_a_client_that_accepts_no_post_stream_gets_server_requests_on_its_session_stream(keeps: bool, at_once: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = open_client(world, answer_only=True)
    client.call("write", delay=2.0, progress=4, ask=True)
    if at_once:
        client.call("read", delay=3.0)
    assert_all_rules_held(world, client)  # the client reports any frame but an answer on a POST
    assert all(request.answers[0].reason == "" and not request.progress for request in client.requests)


@both_brokers
@both_links
@pytest.mark.requirement("P09")
def test_sessions_that_use_the_same_ids_get_their_own_answers_and_server_requests(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2, edges=2, most=32)
    clients = [open_client(world, f"c{number}", long=long) for number in range(12)]
    for _ in range(3):
        for client in clients:
            client.call("write", id=b"7", delay=0.1, progress=2, ask=True)  # ids of server requests count from 0
            client.call("read", id=b'"7"', delay=0.1, progress=2)
        world.run(0.03)
    assert_all_rules_held(world, *clients)
    assert all(request.answers[0].reason == "" for client in clients for request in client.requests)


@both_brokers
@pytest.mark.requirement("P09")
def test_two_open_requests_with_one_id_get_two_answers(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    clients = [LongLink(world, "modern", "tools", legacy=False), LongLink(world, "legacy", "old", legacy=True)]
    world.run(0.5)
    for client in clients:
        for delay in (0.5, 0.1, 0.3):
            client.call("write", id=b"1", delay=delay)
            client.call("read", id=b'"1"', delay=delay)
    assert_all_rules_held(world, *clients)
    assert all(request.answers[0].reason == "" for client in clients for request in client.requests)


# ---------------------------------------------------------------- cancels
@both_brokers
@both_links
def test_a_cancel_that_overtakes_its_request_still_cancels_it(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = open_client(world, long=long)
    delay_packs(world, Kind.REQUEST, world.edges[0].name, 0.3)
    client.call("write", delay=1.0, cancel_after=0.01)
    world.run(0.8)
    world.broker.intercept = None
    assert not world.bridges[0].core.jobs.open
    assert last_request(client).cancelled
    world.run(2.0)
    assert not last_request(client).answers
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- ends
@both_brokers
def test_each_open_call_of_a_session_is_answered_when_the_session_ends(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = open_client(world)
    world.fault("ended by its client", lasts=5.0)
    calls = [started_call(client) for _ in range(3)]
    world.bridges[0].touched.append("ended by its client")
    client.leave()
    for request in calls:
        assert until_answered(world, request, 0.5) == "outcome_unknown"
    assert_all_rules_held(world, client)


@both_brokers
def test_every_message_for_an_ended_session_is_refused_as_session_lost(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = open_client(world)
    assert isinstance(client, Http)
    session = client.session
    assert session is not None
    client.leave()
    world.run(0.5)
    edge, notes = world.edges[0], [RawPost(client, f"note{number}", session) for number in range(3)]
    for note in notes:
        edge.links[note.link] = note
    edge.feed(RequestPosted("note0", "old", "c", notification("notifications/x", {}), session, (), "http"))
    edge.feed(RequestPosted("note1", "old", "c", call(b"5", "write", {"key": "c.5"}, modern=False), session, (), "http"))
    edge.feed(StreamOpened("note2", session, ""))
    world.run(0.5)
    ids = [b'"id":null', b'"id":5', b'"id":null']
    assert all(b'"session_lost"' in note.answer and id in note.answer for note, id in zip(notes, ids, strict=True))
    assert_all_rules_held(world, client)


@both_brokers
@pytest.mark.requirement("D05")
def test_a_session_whose_end_was_confirmed_has_ended_at_every_edge(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2)
    client = open_client(world)
    assert isinstance(client, Http)
    session = client.session
    assert session is not None
    first, second = sorted(world.edges, key=lambda edge: edge is not client.edge)
    delay_packs(world, Kind.END, first.name, 0.3)
    delete, later = RawPost(client, "delete", session), RawPost(client, "later", session)
    first.links[delete.link], second.links[later.link] = delete, later
    first.feed(SessionEnded("delete", session))
    client.leave()
    assert world.run_until(lambda: delete.over, 2.0)
    second.feed(RequestPosted("later", "old", "c", call(b"5", "write", {"key": "c.5"}, modern=False), session, (), "http"))
    world.run(1.0)
    assert b'"session_lost"' in later.answer
    assert_all_rules_held(world, client)


@both_brokers
@pytest.mark.requirement("R11")
def test_a_delete_of_a_session_whose_bridge_died_is_answered_with_session_lost(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = open_client(world)
    assert isinstance(client, Http)
    session = client.session
    assert session is not None
    delay_packs(world, Kind.END, world.edges[0].name, None)
    edge, deletes = world.edges[0], [RawPost(client, name, session) for name in ("on its way", "long after")]
    world.fault("kill bridge", lasts=0.0)
    for delete in deletes:
        edge.links[delete.link] = delete
    edge.feed(SessionEnded("on its way", session))
    world.bridges[0].kill()
    world.run(LEASE + 1.0)
    edge.feed(SessionEnded("long after", session))
    assert all(b'"session_lost"' in delete.answer for delete in deletes)
    world.broker.intercept = None
    world.bridge()
    assert_all_rules_held(world, client)


@both_brokers
@both_links
def test_calls_of_a_session_whose_server_dies_are_answered_at_once(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = open_client(world, long=long)
    started = started_call(client)
    world.fault("server crash", lasts=0.0)
    bridge = world.bridges[0]
    bridge.touched.append("server crash")
    session = next(iter(bridge.core.sessions.open.values()))
    bridge.children[session.child].crash()
    client.call("read")  # it crosses the message that the session has ended
    crossing = last_request(client)
    assert until_answered(world, started, 0.2) == "outcome_unknown"
    assert until_answered(world, crossing, 0.2) == "session_lost"
    client.call("read")
    assert world.run_until(lambda: not client.unmade, 3.0)
    assert until_answered(world, last_request(client), 3.0) == ""
    assert_all_rules_held(world, client)


@both_brokers
@both_links
def test_a_session_and_its_requests_end_within_the_lease_when_its_bridge_dies(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2)
    client = open_client(world, long=long)
    started = started_call(client)
    world.fault("kill bridge", lasts=0.0)
    killed = world.now
    world.bridges[0].kill()
    world.bridge()
    world.run(0.1)
    note = RawPost(client, "note")  # type: ignore[arg-type]  # it is used by HTTP clients only
    if isinstance(client, Http):
        started.edge.links["note"] = note
        posted = notification("notifications/x", {})
        started.edge.feed(RequestPosted("note", "old", "c", posted, client.session, (), "http"))
    assert until_answered(world, started, LEASE + 1.0) == "outcome_unknown"
    assert world.now - killed < LEASE + 0.6
    if isinstance(client, Http):
        assert b'"session_lost"' in note.answer
    client.call("write")
    assert world.run_until(lambda: not client.unmade, 3.0)
    assert until_answered(world, last_request(client), 3.0) in ("", "session_lost")
    client.call("write")
    assert world.run_until(lambda: not client.unmade, 3.0)
    assert until_answered(world, last_request(client), 3.0) == ""
    assert_all_rules_held(world, client)


@both_brokers
def test_an_edge_that_never_knew_the_dead_bridge_of_a_session_reports_it_as_lost(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = open_client(world)
    world.fault("kill bridge", lasts=0.0)
    world.bridges[0].kill()
    world.bridge()
    fresh = world.edge()  # it has no announcement of the owner
    client._edge = fresh
    client.call("write")
    request = last_request(client)
    assert until_answered(world, request, 2 * LEASE + 1.0) == "session_lost"
    assert request.answers[0].retryable
    assert_all_rules_held(world, client)


@both_brokers
@both_links
def test_an_edge_that_retires_leaves_no_session_behind(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = open_client(world, long=long)
    started_call(client, 0.1)
    world.fault("retire", lasts=1.0)
    old = world.edges[0]
    old.touched.append("retire")
    world.edge()
    world.run(0.5)
    old.retire()
    world.run(1.0)
    client.call("write")
    world.run(1.0)
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- sizes
@both_brokers
@both_links
@pytest.mark.parametrize("limit", [4_096, 100_000])
def test_a_message_too_large_for_the_broker_is_refused_and_blocks_no_other(keeps: bool, long: bool, limit: int) -> None:
    world = running_fabric(keeps=keeps, largest_message_bytes=limit)
    clients = [open_client(world, long=long), Http(world, "modern", "tools", legacy=False)]
    for client in clients:
        for size in ({"padding": "x" * (limit + 1000)}, {"big": limit + 1000}):
            client.call("write", **size)
            assert until_answered(world, last_request(client), 1.0) == "too_large"
        client.call("write")
        assert until_answered(world, last_request(client), 1.0) == ""
    assert_all_rules_held(world, *clients)

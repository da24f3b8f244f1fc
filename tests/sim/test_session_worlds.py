"""The worlds of sessions: who owns one, what ends it, and which stream each message goes to. Each named by what must hold."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.effects import Send
from fabric.core.events import FrameArrived, LinkOpened, RequestPosted, SessionEnded, StreamOpened
from fabric.core.peers.lease import LEASE
from fabric.envelope import Kind
from fabric.mcp import jsonrpc
from tests.sim.clients import Client, LongLink
from tests.sim.http_clients import Http, Post
from tests.sim.requests import Request, call, frame, initialize, notification
from tests.sim.running_fabric import assert_all_rules_held, delay_packs, last, running_fabric, until_answered, until_started
from tests.sim.world import World

both_kinds = pytest.mark.parametrize("keeps", [False, True], ids=["forgets", "keeps"])
both_links = pytest.mark.parametrize("long", [False, True], ids=["http", "long link"])
pytestmark = pytest.mark.requirement("R11")


class Note(Post):
    """The far end of a posted notification."""

    answer = b""

    def sent(self, effect: Send) -> None:
        self.answer = effect.frame


def legacy(world: World, name: str = "c", *, long: bool = False, **arguments: Any) -> Client:
    """A client whose session is open."""
    client = LongLink(world, name, "old", legacy=True) if long else Http(world, name, "old", legacy=True, **arguments)
    assert world.run_until(lambda: bool(client.requests and client.requests[0].answers), 5.0)
    assert client.requests[0].answers[0].reason == ""
    world.run(0.1)
    return client


def begun(client: Client, delay: float = 10.0) -> Request:
    """A call that a server runs."""
    client.call("write", delay=delay)
    until_started(client.world, last(client))
    return last(client)


# ---------------------------------------------------------------- opening
@both_kinds
@pytest.mark.requirement("L08")
def test_an_initialize_that_takes_long_gets_its_sessions_id_first_and_the_answer_later(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    [bridge] = world.bridges
    delay_packs(world, Kind.ANSWER, bridge.name, None)
    client = Http(world, "c", "old", legacy=True)
    world.run(3.0)
    assert client._offered is not None
    assert client.session is None
    world.broker.meddle = None
    assert until_answered(world, client.requests[0], 3.0) == ""
    assert client.session == client._offered
    world.run(0.1)
    client.call("write", delay=0.5, ask=True)
    assert_all_rules_held(world, client)


@both_kinds
@pytest.mark.requirement("L08")
def test_a_session_whose_id_named_a_bridge_that_gave_it_back_is_lost_and_begun_anew(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, most=1)
    delay_packs(world, Kind.RETURNED, world.bridges[0].name, 3.0)
    clients = [Http(world, name, "old", legacy=True) for name in ("c1", "c2")]  # both taken, and there is one process
    world.run(2.0)
    [waiting] = [client for client in clients if client.session is None]
    early = waiting._offered
    assert early is not None
    world.broker.meddle = None
    second = world.bridge()
    assert until_answered(world, waiting.requests[0], 5.0) == "session_lost"
    assert world.run_until(lambda: waiting.session is not None, 5.0)
    assert waiting.session != early
    world.run(1.0)
    assert len(second.core.sessions.open) == 1
    assert_all_rules_held(world, *clients)


@both_kinds
@both_links
def test_a_ping_before_there_is_a_session_is_answered_at_once(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps)
    for child in list(world.bridges[0].children.values()):
        child.hang()
    [edge], ping = world.edges, frame(b'"p"', "ping", {})
    end = edge.links["line"] = Note(Http(world, "c", "old", legacy=False), "line", None, None)
    if long:
        edge.feed(LinkOpened("line", "old", "c", "stdio"))
        edge.feed(FrameArrived("line", ping))
        assert end.answer == jsonrpc.empty_result(b'"p"')
        edge.feed(FrameArrived("line", initialize(b"0")))
        world.run(1.0)
        end.answer = b""
        edge.feed(FrameArrived("line", ping))
    else:
        edge.feed(RequestPosted("line", "old", "c", ping, None, (), "http"))
    assert end.answer == jsonrpc.empty_result(b'"p"')
    edge.hang_up("line") if long else None
    assert_all_rules_held(world)


@both_kinds
@both_links
@pytest.mark.requirement("R10")
def test_a_doubled_initialize_opens_one_session(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2)
    world.broker.doubling = 1.0
    client = legacy(world, long=long)
    world.run(2.0)
    assert sum(len(bridge.core.sessions.open) for bridge in world.bridges) == 1
    begun(client, 0.1)
    assert_all_rules_held(world, client)


@both_kinds
def test_an_initialize_whose_taken_comes_late_opens_one_session(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2)
    delay_packs(world, Kind.TAKEN, world.bridges[0].name, 1.5)
    client = legacy(world)
    world.run(3.0)
    assert sum(len(bridge.core.sessions.open) for bridge in world.bridges) == 1
    assert_all_rules_held(world, client)


@both_kinds
@both_links
def test_a_session_that_nobody_waits_for_any_more_is_ended(keeps: bool, long: bool) -> None:
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


@both_kinds
@pytest.mark.requirement("D05")
def test_frames_pipelined_behind_an_initialize_reach_the_server_in_order(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = LongLink(world, "c", "old", legacy=True)
    for _ in range(30):
        client.call("write", delay=0.2)
    keys = [request.key for request in client.requests if request.key]
    assert_all_rules_held(world, client)
    assert list(world.started) == keys


@both_kinds
@both_links
def test_a_second_initialize_in_a_session_is_refused_at_once_and_ends_nothing(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = legacy(world, long=long)
    again = client.new(world.edges[0], b"99", "")
    if isinstance(client, Http):
        client._post(world.edges[0], initialize(b"99"), again, client.session)
    elif isinstance(client, LongLink):
        again.session = client.link
        client._frame(initialize(b"99"))
    assert "initialized already" in (until_answered(world, again, 0.1) or again.answers[0].message)
    begun(client, 0.1)
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- through any edge
@both_kinds
def test_what_was_initialized_through_one_edge_is_called_through_another(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=3, bridges=2)
    client = legacy(world, roams=True)
    for number in range(12):
        client.call("write", delay=0.1, ask=number % 3 == 0)
        world.run(0.15)
    assert len({request.edge.name for request in client.requests}) == 3
    assert_all_rules_held(world, client)
    assert all(request.answers[0].reason == "" for request in client.requests)


@both_kinds
def test_an_http_session_goes_on_through_another_edge_when_its_own_is_killed(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2)
    client = legacy(world)
    session = client.session_id  # type: ignore[attr-defined]  # an HTTP client has it
    lost = begun(client, 1.0)
    world.fault("kill edge", lasts=0.0)
    lost.edge.kill()
    client.call("write", delay=0.1)
    assert until_answered(world, last(client), 2.0) == ""
    assert client.session_id == session  # type: ignore[attr-defined]  # an HTTP client has it
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- whose message is it
@both_kinds
@pytest.mark.requirement("P09")
@pytest.mark.parametrize("at_once", [False, True], ids=["alone", "beside another"])
def test_a_client_that_takes_no_stream_for_an_answer_is_asked_on_its_sessions_own(keeps: bool, at_once: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = legacy(world, answer_only=True)
    client.call("write", delay=2.0, progress=4, ask=True)
    if at_once:
        client.call("read", delay=3.0)
    assert_all_rules_held(world, client)  # which says so, too, if anything but an answer comes to a POST
    assert all(request.answers[0].reason == "" and not request.progress for request in client.requests)


@both_kinds
@both_links
@pytest.mark.requirement("P09")
def test_the_same_ids_in_many_sessions_each_get_their_own_answer_and_their_own_server_requests(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps, bridges=2, edges=2, most=32)
    clients = [legacy(world, f"c{number}", long=long) for number in range(12)]
    for _ in range(3):
        for client in clients:
            client.call("write", id=b"7", delay=0.1, progress=2, ask=True)  # every server's own ids count from 0
            client.call("read", id=b'"7"', delay=0.1, progress=2)
        world.run(0.03)
    assert_all_rules_held(world, *clients)
    assert all(request.answers[0].reason == "" for client in clients for request in client.requests)


@both_kinds
@pytest.mark.requirement("P09")
def test_the_same_id_twice_in_flight_gets_two_answers(keeps: bool) -> None:
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
@both_kinds
@both_links
def test_a_cancel_that_overtakes_its_request_still_means_it(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = legacy(world, long=long)
    delay_packs(world, Kind.REQUEST, world.edges[0].name, 0.3)
    client.call("write", delay=1.0, cancel_after=0.01)
    world.run(0.8)
    world.broker.meddle = None
    assert not world.bridges[0].core.jobs.open
    assert last(client).cancelled
    world.run(2.0)
    assert not last(client).answers
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- ends
@both_kinds
def test_a_session_that_ends_with_calls_open_answers_each(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = legacy(world)
    world.fault("ended by its client", lasts=5.0)
    calls = [begun(client) for _ in range(3)]
    world.bridges[0].touched.append("ended by its client")
    client.leave()
    for request in calls:
        assert until_answered(world, request, 0.5) == "outcome_unknown"
    assert_all_rules_held(world, client)


@both_kinds
def test_what_comes_for_a_session_that_has_ended_is_refused_whatever_it_is(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = legacy(world)
    assert isinstance(client, Http)
    session = client.session
    assert session is not None
    client.leave()
    world.run(0.5)
    edge, notes = world.edges[0], [Note(client, f"note{number}", None, session) for number in range(3)]
    for note in notes:
        edge.links[note.link] = note
    edge.feed(RequestPosted("note0", "old", "c", notification("notifications/x", {}), session, (), "http"))
    edge.feed(RequestPosted("note1", "old", "c", call(b"5", "write", {"key": "c.5"}, modern=False), session, (), "http"))
    edge.feed(StreamOpened("note2", session, ""))
    world.run(0.5)
    ids = [b'"id":null', b'"id":5', b'"id":null']
    assert all(b'"session_lost"' in note.answer and id in note.answer for note, id in zip(notes, ids, strict=True))
    assert_all_rules_held(world, client)


@both_kinds
@pytest.mark.requirement("D05")
def test_a_session_whose_end_was_confirmed_is_over_at_every_edge(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2)
    client = legacy(world)
    assert isinstance(client, Http)
    session = client.session
    assert session is not None
    first, second = sorted(world.edges, key=lambda edge: edge is not client.edge)
    delay_packs(world, Kind.END, first.name, 0.3)
    bye, ask = Note(client, "bye", None, session), Note(client, "ask", None, session)
    first.links[bye.link], second.links[ask.link] = bye, ask
    first.feed(SessionEnded("bye", session))
    client.leave()
    assert world.run_until(lambda: bye.over, 2.0)
    second.feed(RequestPosted("ask", "old", "c", call(b"5", "write", {"key": "c.5"}, modern=False), session, (), "http"))
    world.run(1.0)
    assert b'"session_lost"' in ask.answer
    assert_all_rules_held(world, client)


@both_kinds
@pytest.mark.requirement("R11")
def test_an_end_of_a_session_that_nobody_owns_any_more_says_so(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = legacy(world)
    assert isinstance(client, Http)
    session = client.session
    assert session is not None
    delay_packs(world, Kind.END, world.edges[0].name, None)
    edge, byes = world.edges[0], [Note(client, name, None, session) for name in ("on its way", "long after")]
    world.fault("kill bridge", lasts=0.0)
    for bye in byes:
        edge.links[bye.link] = bye
    edge.feed(SessionEnded("on its way", session))
    world.bridges[0].kill()
    world.run(LEASE + 1.0)
    edge.feed(SessionEnded("long after", session))
    assert all(b'"session_lost"' in bye.answer for bye in byes)
    world.broker.meddle = None
    world.bridge()
    assert_all_rules_held(world, client)


@both_kinds
@both_links
def test_calls_of_a_session_whose_server_dies_are_answered_at_once(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = legacy(world, long=long)
    started = begun(client)
    world.fault("server crash", lasts=0.0)
    bridge = world.bridges[0]
    bridge.touched.append("server crash")
    session = next(iter(bridge.core.sessions.open.values()))
    bridge.children[session.child].crash()
    client.call("read")  # on its way while the end is on its way back
    crossing = last(client)
    assert until_answered(world, started, 0.2) == "outcome_unknown"
    assert until_answered(world, crossing, 0.2) == "session_lost"
    client.call("read")
    assert world.run_until(lambda: not client.unmade, 3.0)
    assert until_answered(world, last(client), 3.0) == ""
    assert_all_rules_held(world, client)


@both_kinds
@both_links
def test_a_session_whose_bridge_dies_ends_with_each_of_its_requests_within_the_lease(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2)
    client = legacy(world, long=long)
    started = begun(client)
    world.fault("kill bridge", lasts=0.0)
    killed = world.now
    world.bridges[0].kill()
    world.bridge()
    world.run(0.1)
    note = Note(client, "note", None, None)  # type: ignore[arg-type]  # only an HTTP client hears it
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
    assert until_answered(world, last(client), 3.0) in ("", "session_lost")
    client.call("write")
    assert world.run_until(lambda: not client.unmade, 3.0)
    assert until_answered(world, last(client), 3.0) == ""
    assert_all_rules_held(world, client)


@both_kinds
def test_a_session_of_a_bridge_that_is_gone_is_lost_for_every_edge(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = legacy(world)
    world.fault("kill bridge", lasts=0.0)
    world.bridges[0].kill()
    world.bridge()
    fresh = world.edge()  # has never heard of the owner
    client._edge = fresh
    client.call("write")
    request = last(client)
    assert until_answered(world, request, 2 * LEASE + 1.0) == "session_lost"
    assert request.answers[0].retryable
    assert_all_rules_held(world, client)


@both_kinds
@both_links
def test_an_edge_that_retires_leaves_no_session_behind(keeps: bool, long: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = legacy(world, long=long)
    begun(client, 0.1)
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
@both_kinds
@both_links
@pytest.mark.parametrize("limit", [4_096, 100_000])
def test_what_is_too_large_for_the_broker_is_refused_and_blocks_nobody(keeps: bool, long: bool, limit: int) -> None:
    world = running_fabric(keeps=keeps, largest_message_bytes=limit)
    clients = [legacy(world, long=long), Http(world, "modern", "tools", legacy=False)]
    for client in clients:
        for size in ({"padding": "x" * (limit + 1000)}, {"big": limit + 1000}):
            client.call("write", **size)
            assert until_answered(world, last(client), 1.0) == "too_large"
        client.call("write")
        assert until_answered(world, last(client), 1.0) == ""
    assert_all_rules_held(world, *clients)

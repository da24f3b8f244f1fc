"""Worlds of broken connections: a legacy HTTP client resumes its streams where they broke, at any edge."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.bridge import stream
from fabric.core.bridge.sessions import session
from fabric.core.bridge.sessions.session import Session
from fabric.core.effects import Send
from fabric.core.events import LinkGone, StreamOpened
from fabric.mcp import jsonrpc
from tests.sim.clients import AGAIN
from tests.sim.http_clients import Http, Post
from tests.sim.process import EdgeProcess
from tests.sim.requests import Request
from tests.sim.running_fabric import (
    assert_all_rules_held,
    both_brokers,
    last_request,
    running_fabric,
    until_answered,
    until_started,
)
from tests.sim.world import World

pytestmark = pytest.mark.requirement("L08", "R11")
ways = pytest.mark.parametrize("way", ["drop", "kill"])
"""What breaks: the connection alone, or the edge with it."""


class Reader:
    """A GET that a test opens by itself, with all frames that it receives."""

    def __init__(self, client: Http, edge: EdgeProcess, event: str, name: str = "reader") -> None:
        assert client.session is not None
        self.sent_frames: list[tuple[str, bytes]] = []
        self.over = False
        edge.links[name] = self
        edge.feed(StreamOpened(name, client.session, event))

    def sent(self, effect: Send) -> None:
        self.sent_frames.append((effect.event, effect.frame))
        self.over = self.over or effect.final

    def finished(self) -> None:
        self.over = True

    def accepted(self) -> None: ...

    def established(self, effect: object) -> None: ...

    def closed(self, reason: str, unread: frozenset[bytes]) -> None: ...

    def broken(self) -> None: ...


def open_client(world: World, name: str = "c", **arguments: Any) -> Http:
    """A legacy client that has a session and reads its stream."""
    client = Http(world, name, "old", legacy=True, **arguments)
    assert world.run_until(lambda: bool(client.requests and client.requests[0].answers), 5.0)
    world.run(0.1)
    return client


def started_call(caller: Http, **arguments: Any) -> tuple[Request, Post]:
    """A call that a server runs, and its connection."""
    caller.call("write", **arguments)
    request = last_request(caller)
    until_started(caller.world, request)
    return request, next(end for end in caller.ends if end.request is request)


def break_link(world: World, edge: EdgeProcess, link: str, way: str) -> None:
    """Break a connection, or kill its edge."""
    if way == "kill":
        world.fault("kill edge")
        edge.kill()
    else:
        world.fault("drop")
        edge.drop(link)


def only_session(world: World) -> Session:
    """The only open session."""
    [session] = [session for bridge in world.bridges for session in bridge.core.sessions.open.values()]
    return session


def notify(world: World, count: int) -> None:
    """Have the server of the only session send so many notifications, numbered from 1."""
    for bridge in world.bridges:
        for child in bridge.children.values():
            if child.child == only_session(world).child:
                for number in range(1, count + 1):
                    child.send(method="notifications/resources/updated", params={"uri": str(number)})


# ---------------------------------------------------------------- a request's stream
@both_brokers
@ways
def test_a_call_whose_connection_breaks_is_answered_on_its_resumed_stream(keeps: bool, way: str) -> None:
    world = running_fabric(keeps=keeps, edges=2)
    caller = open_client(world, roams=True)
    request, post = started_call(caller, delay=3.0, progress=6)
    world.run(1.6)
    assert 0 < request.progress < 6
    break_link(world, request.edge, post.link, way)
    assert until_answered(world, request, 4.0) == ""
    assert request.progress == 6
    assert_all_rules_held(world, caller)


@both_brokers
@ways
def test_an_answer_that_came_while_its_client_was_disconnected_is_on_the_resumed_stream(keeps: bool, way: str) -> None:
    world = running_fabric(keeps=keeps, edges=2)
    caller = open_client(world)
    request, post = started_call(caller, delay=1.0)
    world.run(0.9)
    assert post.last.endswith(".0"), "the edge primes a stream on which the server has sent nothing"
    break_link(world, request.edge, post.link, way)
    assert until_answered(world, request, AGAIN + 0.1) == ""
    assert_all_rules_held(world, caller)


@both_brokers
@ways
def test_a_server_request_sent_to_a_disconnected_client_arrives_once_and_is_answered(keeps: bool, way: str) -> None:
    world = running_fabric(keeps=keeps, edges=2)
    caller = open_client(world)
    other, post = started_call(caller, delay=5.0, progress=20)
    world.run(0.5)
    [own] = [link for link, end in other.edge.links.items() if not isinstance(end, Post)]
    edge = other.edge
    break_link(world, edge, post.link, way)
    if way == "drop":
        edge.drop(own)
    [child] = [
        child for bridge in world.bridges for child in bridge.children.values() if child.child == only_session(world).child
    ]
    child.ask("asked")
    world.run(3.0)
    assert not child.questions
    assert until_answered(world, other, 4.0) == ""
    assert_all_rules_held(world, caller)


@both_brokers
def test_the_later_of_two_connections_that_resume_one_stream_gets_it(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=3)
    caller = open_client(world)
    request, post = started_call(caller, delay=2.0, progress=8)
    world.run(0.8)
    assert post.last
    for edge in world.edges:
        if edge is not request.edge:
            caller.resume(post, edge)
    assert until_answered(world, request, 3.0) == ""
    world.run(0.5)
    assert all(end.over for end in caller.ends if end.request is request)
    assert_all_rules_held(world, caller)


@both_brokers
def test_the_stream_of_a_cancelled_call_cannot_be_resumed(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    caller = open_client(world)
    request, post = started_call(caller, delay=3.0, progress=6)
    world.run(1.0)
    caller.cancel(request, post.link)
    world.run(0.5)
    reader = Reader(caller, world.edges[0], post.last)
    world.run(0.5)
    assert b"Last-Event-ID" in reader.sent_frames[-1][1]
    assert reader.over
    assert_all_rules_held(world, caller)


@both_brokers
def test_the_deadline_of_a_call_is_reported_on_its_resumed_stream(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2)
    caller = open_client(world)
    request, post = started_call(caller, delay=100.0)
    world.run(1.0)
    request.edge.hang_up(post.link)
    reader = Reader(caller, next(edge for edge in world.edges if edge is not request.edge), post.last)
    request.excused = "the test reads its stream"
    world.run(42.0)
    assert b"outcome_unknown" in reader.sent_frames[-1][1]
    assert reader.over
    assert_all_rules_held(world, caller)


@both_brokers
def test_progress_keeps_a_call_alive_on_its_resumed_stream(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2)
    caller = open_client(world, roams=True)
    request, post = started_call(caller, delay=55.0, progress=4)  # a deadline of 40 s without progress
    world.run(1.0)
    request.edge.drop(post.link)
    assert until_answered(world, request, 60.0) == ""
    assert request.progress == 4
    world.fault("drop", lasts=0.0)
    world.quiet_since = world.now
    assert_all_rules_held(world, caller)


@both_brokers
def test_a_stream_whose_bridge_died_cannot_be_resumed(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    caller = open_client(world)
    request, post = started_call(caller, delay=3.0)
    world.run(1.0)
    edge = request.edge
    world.fault("kill bridge")
    world.bridges[0].kill()
    world.bridge()
    edge.drop(post.link)
    world.run(8.0)
    assert request.excused == "its session was lost"
    assert_all_rules_held(world, caller)


@both_brokers
def test_a_silent_call_of_a_dead_edge_ends_after_the_idle_time_of_its_session(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2)
    caller = open_client(world)
    silent, _ = started_call(caller, delay=1000.0)
    world.run(1.0)
    world.fault("kill edge", lasts=25.0)
    silent.edge.kill()
    world.run(10.0)
    reporting, _ = started_call(caller, delay=5.0, progress=4)
    assert until_answered(world, reporting, 6.0) == ""
    assert silent.open
    assert until_answered(world, silent, 20.0) == "outcome_unknown"
    world.bridges[0].touched.append("its call's edge was killed")
    assert_all_rules_held(world, caller)


@both_brokers
def test_an_unread_session_ends_though_one_of_its_calls_hangs(keeps: bool) -> None:
    world = running_fabric(keeps=keeps, edges=2)
    caller = open_client(world)
    request, _ = started_call(caller, delay=1000.0)
    world.run(1.0)
    caller.over = True
    request.excused = "its client is gone"
    world.fault("kill edge")
    request.edge.kill()
    world.run(30.0)
    assert not any(bridge.core.sessions.open for bridge in world.bridges)
    assert_all_rules_held(world, caller)


# ---------------------------------------------------------------- streams of others
@both_brokers
def test_a_client_cannot_resume_a_stream_of_another_session_or_an_invented_one(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    mine, others = open_client(world, "mine"), open_client(world, "others")
    request, post = started_call(others, delay=1.5, progress=3)
    world.run(0.9)
    assert others.session is not None
    events = (post.last, f"{others.session.session}.0", "nothing.0", "nothing", ".", f"{mine.session_id}.x", "9" * 5000 + ".1")
    readers = [Reader(mine, world.edges[0], event, f"reader{number}") for number, event in enumerate(events)]
    world.run(0.5)
    for reader in readers:
        [(event, frame)] = reader.sent_frames
        assert b"Last-Event-ID" in frame
        assert event == ""
        assert reader.over
    assert until_answered(world, request, 2.0) == ""
    assert_all_rules_held(world, mine, others)


# ---------------------------------------------------------------- the session's own stream
@both_brokers
@ways
def test_notifications_sent_while_a_session_stream_is_unread_arrive_once_and_in_order(keeps: bool, way: str) -> None:
    world = running_fabric(keeps=keeps, edges=2)
    caller = open_client(world)
    edge = world.edges[0]
    edge = edge if any(not isinstance(end, Post) for end in edge.links.values()) else world.edges[1]
    for _ in range(3):
        notify(world, 5)
        world.run(0.2)
        [link] = [link for link, end in edge.links.items() if not isinstance(end, Post)]
        break_link(world, edge, link, way)
        notify(world, 5)
        world.run(2 * AGAIN)
        if way == "kill":
            edge = next(edge for edge in world.edges if edge.links)
            world.edge()
            world.run(1.0)
    numbers = [int(jsonrpc.text(jsonrpc.meta(message).uri)) for message in caller.notifications]
    assert numbers == [1, 2, 3, 4, 5] * 6
    assert_all_rules_held(world, caller)


@both_brokers
def test_notifications_wait_for_the_first_reader_of_a_session_stream(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    caller = open_client(world)
    own = only_session(world).own
    edge = world.edges[0]
    [link] = [link for link, end in edge.links.items() if not isinstance(end, Post)]
    edge.links.pop(link)
    edge.feed(LinkGone(link))
    world.run(0.2)
    notify(world, 3)
    world.run(0.2)
    reader = Reader(caller, edge, "")
    world.run(0.2)
    events = [event for event, _ in reader.sent_frames]
    assert len(events) == 4
    assert reader.sent_frames[0][1] == b"", "primed first"
    again = Reader(caller, edge, events[0], "again")
    world.run(0.2)
    assert [event for event, frame in again.sent_frames if frame] == events[1:]
    assert own.exchange
    assert_all_rules_held(world, caller)


# ---------------------------------------------------------------- bounds
def test_a_session_keeps_a_bounded_number_of_bytes_and_messages() -> None:
    world = running_fabric(largest_message_bytes=10_000_000)
    caller = open_client(world)
    for _ in range(3):
        started_call(caller, delay=0.01, big=2_000_000)
        world.run(0.3)
    kept = only_session(world).streams.values()
    assert sum(stream.kept_bytes for stream in kept) <= session.ENDED_BYTES + 4_000_000
    notify(world, 2 * stream.KEPT_MESSAGES)
    world.run(0.5)
    assert only_session(world).own.kept_messages == stream.KEPT_MESSAGES
    assert_all_rules_held(world, caller)


def test_a_session_keeps_few_streams_after_thousands_of_calls_and_none_after_minutes() -> None:
    world = running_fabric(session_idle=1000.0)
    caller = open_client(world)
    for _ in range(2000):
        caller.call("read", progress=1, delay=0.01)
        world.run(0.02)
    world.run(1.0)
    assert all(request.answers for request in caller.requests)
    busy = only_session(world)
    assert 0 < len(busy.streams) <= session.ENDED_STREAMS + 1
    assert not busy.jobs
    world.run(session.ENDED_FOR + 6.0)
    assert not busy.streams
    assert_all_rules_held(world, caller)

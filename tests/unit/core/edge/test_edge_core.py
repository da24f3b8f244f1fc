"""The edge core: events that each part gets, and rules of the edge as a whole."""

from __future__ import annotations

import pytest

from fabric.core.effects import Finish
from fabric.core.events import (
    DrainStarted,
    LinkBehind,
    LinkCaughtUp,
    LinkGone,
    LinkOpened,
    Listening,
    PackNotConfirmed,
    StreamOpened,
)
from fabric.envelope import Envelope, Kind, single
from tests.unit.core.edge.driven_edge import SESSION, DrivenEdge, frames, request


def test_an_edge_announces_where_it_listens_and_how_many_long_links_it_has() -> None:
    edge = DrivenEdge()
    edge.handle(Listening("http://127.0.0.1:1"))
    edge.open_link()
    announcement = edge.core.describe(1, edge.now)
    assert (announcement.address, announcement.sessions) == ("http://127.0.0.1:1", 1)


def test_an_edge_is_idle_while_only_event_streams_are_open() -> None:
    edge = DrivenEdge()
    edge.handle(StreamOpened("get", SESSION, ""))
    assert not edge.core.snapshot(edge.now).unanswered
    edge.post(request(1, modern=True))
    assert edge.core.snapshot(edge.now).unanswered
    [_, exchange] = edge.open
    edge.bridge_answers(exchange)
    assert not edge.core.snapshot(edge.now).unanswered


def test_envelopes_that_an_edge_does_not_handle_are_ignored() -> None:
    edge = DrivenEdge()
    edge.post(request(1, modern=True))
    assert edge.bridge_sends(Kind.GRANT, edge.open[0]) == []
    assert edge.bridge_sends(Kind.CANCEL) == []
    assert len(edge.open) == 1


def test_an_event_of_a_bridge_is_refused() -> None:
    with pytest.raises(TypeError, match="DrainStarted"):
        DrivenEdge().handle(DrainStarted())


def test_an_edge_that_leaves_ends_the_sessions_of_its_links_and_ignores_later_events() -> None:
    edge = DrivenEdge()
    session = edge.with_session()
    edge.core.leave(edge.now)
    assert [(envelope.kind, envelope.session) for envelope in edge.posted()] == [(Kind.END, session)]
    assert edge.handle(LinkOpened("late", "s", "p", "stdio")) == []
    assert not edge.core.long_links.open


def test_a_request_without_an_answer_within_the_idle_time_ends_at_its_deadline() -> None:
    edge = DrivenEdge()
    edge.post(request(1, modern=True))
    edge.bridge_sends(Kind.TAKEN, edge.open[0], attempt=1)
    [error] = frames(edge.pass_time(edge.core.router.limits.idle + 1.0))
    assert error["error"]["data"]["reason"] == "deadline"
    assert [envelope.kind for envelope in edge.posted()] == [Kind.CANCEL]


def test_a_request_whose_client_is_behind_does_not_reach_its_idle_deadline() -> None:
    edge = DrivenEdge()
    edge.post(request(1, modern=True))
    edge.bridge_sends(Kind.TAKEN, edge.open[0], attempt=1)
    edge.handle(LinkBehind("post", 100_000))
    assert frames(edge.pass_time(edge.core.router.limits.idle + 1.0)) == []
    edge.handle(LinkCaughtUp("post"))
    assert len(frames(edge.pass_time(edge.core.router.limits.idle + 1.0))) == 1


def test_open_requests_fail_when_no_bridge_serves_their_server_any_more() -> None:
    edge = DrivenEdge()
    edge.post(request(1, modern=True))
    [error] = frames(edge.pass_time(12.0, bridge_lives=False))
    assert error["error"]["data"]["reason"] == "no_worker"


def test_a_request_that_the_broker_did_not_confirm_is_sent_again_after_a_pause() -> None:
    edge = DrivenEdge()
    edge.post(request(1, modern=True))
    exchange = edge.core.router.exchanges[edge.open[0]]
    envelope = Envelope(kind=Kind.REQUEST, exchange=exchange.id, attempt=1)
    edge.handle(PackNotConfirmed(single("e", envelope), False, False, "no broker"))
    assert exchange.closed_attempts == {1}
    edge.pass_time(0.25)
    assert exchange.attempt == 2


def test_no_deadline_is_earlier_than_soonest() -> None:
    edge = DrivenEdge()
    edge.post(request(1, modern=True))
    edge.bridge_answers(edge.open[0])
    assert edge.core.soonest <= edge.core.next_deadline() == edge.core.member.next_beat


def test_a_link_that_closes_while_it_is_behind_releases_its_server_process() -> None:
    edge = DrivenEdge()
    session = edge.with_session()
    edge.handle(LinkBehind("link", 100_000))
    edge.bridge_sends(Kind.MESSAGE, session=session, body=b'{"jsonrpc":"2.0","method":"notifications/message"}')
    assert [envelope.kind for envelope in edge.posted()] == [Kind.HOLD]
    edge.handle(LinkGone("link"))
    assert sorted(envelope.kind for envelope in edge.posted()) == [Kind.END, Kind.RELEASE]


def test_a_request_that_is_cancelled_in_its_session_ends_without_a_response() -> None:
    edge = DrivenEdge()
    edge.post(request(1, "tools/call", name="t"), session=SESSION)
    exchange = edge.open[0]
    assert edge.bridge_sends(Kind.ENDED, exchange) == [Finish("post")]
    assert edge.open == []

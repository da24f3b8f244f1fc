"""Long links: sessions and modern requests on one connection, and the reasons to stop reading it."""

from __future__ import annotations

import msgspec

from fabric.core.effects import CloseLink, Effect, HoldLink, LinkIdle, ReleaseLink, Send
from fabric.core.events import InputEnded, InputLapsed, LinkBehind, LinkCaughtUp, LinkGone
from fabric.envelope import Kind
from tests.unit.core.edge.driven_edge import INITIALIZED, DrivenEdge, frame, frames, initialize, request


def call(id: int | str, *, modern: bool = False) -> bytes:
    return request(id, "tools/call", modern=modern, name="t")


# ---------------------------------------------------------------- opening
def test_frames_behind_an_initialize_wait_for_its_answer_and_go_in_order() -> None:
    edge = DrivenEdge()
    edge.open_link()
    edge.write(initialize())
    [session] = edge.open
    edge.write(frame(method="notifications/initialized"))
    edge.write(request(1, "prompts/list"))
    edge.write(request(2, "resources/list"))
    assert edge.open == [session]
    edge.bridge_sends(Kind.TAKEN, session, attempt=1)
    edge.posted()
    [answer] = frames(edge.bridge_answers(session, INITIALIZED, session=session))
    assert (answer["id"], answer["result"]) == (0, INITIALIZED)
    posted = edge.posted()
    assert [envelope.kind for envelope in posted] == [Kind.FRAME, Kind.REQUEST, Kind.REQUEST]
    assert [envelope.client_id for envelope in posted] == [b"", b"1", b"2"]
    assert {envelope.session for envelope in posted} == {session}


def test_an_initialize_that_fails_leaves_the_link_open_for_another() -> None:
    edge = DrivenEdge()
    edge.open_link()
    edge.write(initialize())
    session = edge.open[0]
    error = frame(id=session, error={"code": -32602, "message": "no"})
    edge.bridge_sends(Kind.ANSWER, session, attempt=1, body=error)
    assert not edge.core.long_links.bound
    edge.write(initialize(1))
    assert len(edge.open) == 1


def test_a_ping_needs_no_session() -> None:
    edge = DrivenEdge()
    edge.open_link()
    assert frames(edge.write(frame(id=1, method="ping"))) == [{"jsonrpc": "2.0", "id": 1, "result": {}}]


def test_a_link_is_held_when_too_much_waits_behind_its_initialize() -> None:
    edge = DrivenEdge()
    edge.open_link()
    edge.write(initialize())
    long_frame = request(1, "prompts/get", name="x" * 600_000)
    assert edge.write(long_frame) == []
    assert edge.write(long_frame) == [HoldLink("link")]
    session = edge.open[0]
    edge.bridge_sends(Kind.TAKEN, session, attempt=1)
    assert ReleaseLink("link") in edge.bridge_answers(session, INITIALIZED, session=session)


# ---------------------------------------------------------------- requests
def test_requests_with_one_id_each_get_their_answer_and_a_cancel_ends_the_newest() -> None:
    edge = DrivenEdge()
    edge.open_link()
    for method in ("prompts/list", "resources/list", "tools/list"):
        edge.write(request(7, method, modern=True))
    oldest, older, newest = edge.open
    edge.bridge_sends(Kind.TAKEN, newest, attempt=1)
    edge.write(frame(method="notifications/cancelled", params={"requestId": 7}))
    assert edge.open == [oldest, older]
    assert edge.records == [("tools/list", "cancelled")]
    cancel = edge.posted()[-1]
    assert (cancel.kind, cancel.exchange) == (Kind.CANCEL, newest)
    assert msgspec.json.decode(cancel.body)["params"] == {"requestId": newest}
    edge.write(frame(method="notifications/cancelled", params={"requestId": 7}))
    assert edge.open == [oldest]
    [answer] = frames(edge.bridge_answers(oldest, {"prompts": []}))
    assert (answer["id"], answer["result"]) == (7, {"prompts": []})


def test_a_cancel_of_an_unknown_request_does_nothing() -> None:
    edge = DrivenEdge()
    edge.open_link()
    edge.write(request(7, modern=True))
    assert edge.write(frame(method="notifications/cancelled", params={"requestId": "7"})) == []
    assert len(edge.open) == 1


def test_progress_has_the_token_of_its_client_and_only_rises() -> None:
    edge = DrivenEdge()
    session = edge.with_session()
    edge.write(request(1, "tools/call", name="t", _meta={"progressToken": "p"}))
    [exchange] = edge.open
    seen = []
    for value in (1, 1, 2):
        notification = frame(method="notifications/progress", params={"progressToken": exchange, "progress": value})
        seen += frames(edge.bridge_sends(Kind.MESSAGE, exchange, session=session, body=notification))
    assert [message["params"] for message in seen] == [
        {"progressToken": "p", "progress": 1},
        {"progressToken": "p", "progress": 2},
    ]


def test_a_batch_is_answered_in_one_array_with_its_last_answer() -> None:
    edge = DrivenEdge()
    edge.with_session(version="2025-03-26")
    members = [request(1), frame(method="notifications/x"), request(2), frame(id=3, method="initialize")]
    assert edge.write(b"[" + b",".join(members) + b"]") == []
    first, second = edge.open
    assert edge.bridge_answers(second) == []
    [answers] = frames(edge.bridge_answers(first))
    assert [answer["id"] for answer in answers] == [3, 2, 1]
    assert "error" in answers[0]


def test_a_cancelled_member_does_not_delay_the_answer_of_a_batch() -> None:
    edge = DrivenEdge()
    edge.with_session(version="2025-03-26")
    edge.write(b"[" + request(1) + b"," + request(2) + b"]")
    first, second = edge.open
    edge.bridge_answers(first)
    [answers] = frames(edge.bridge_sends(Kind.ENDED, second))
    assert [answer["id"] for answer in answers] == [1]


def test_a_batch_in_a_session_of_another_revision_is_refused() -> None:
    edge = DrivenEdge()
    edge.with_session()
    [error] = frames(edge.write(b"[" + request(1) + b"]"))
    assert error["error"]["code"] == -32600
    assert edge.open == []


# ---------------------------------------------------------------- links that are not read
def test_a_held_link_is_released_when_its_last_reason_is_gone() -> None:
    edge = DrivenEdge()
    session = edge.with_session()
    assert edge.bridge_sends(Kind.HOLD, session=session) == [HoldLink("link")]
    edge.handle(LinkBehind("link", 32 * 1024 * 1024))
    edge.write(request(1))
    [answer] = edge.bridge_answers(edge.open[0])  # too much waits for the client: a second reason to hold the link
    assert isinstance(answer, Send)
    assert edge.bridge_sends(Kind.RELEASE, session=session) == []
    assert edge.handle(LinkCaughtUp("link")) == [ReleaseLink("link")]


def test_a_full_lane_to_the_owner_holds_the_link_of_notifications_and_refuses_requests() -> None:
    edge = DrivenEdge()
    edge.with_session()
    notification = frame(method="notifications/x", params={"text": "x" * 900_000})
    effects: list[Effect] = []
    while not effects:
        effects = edge.write(notification)
    assert effects == [HoldLink("link")]
    [error] = frames(edge.write(request(1)))
    assert error["error"]["data"]["reason"] == "overloaded"
    edge.handle(LinkGone("link"))
    assert edge.core.long_links.open == {}


def test_a_message_of_a_session_without_a_request_goes_to_its_link() -> None:
    edge = DrivenEdge()
    session = edge.with_session()
    notification = frame(method="notifications/tools/list_changed")
    assert edge.bridge_sends(Kind.MESSAGE, session=session, body=notification) == [Send("link", notification)]
    assert edge.bridge_sends(Kind.MESSAGE, session="another", body=notification) == []


# ---------------------------------------------------------------- ends
def test_a_session_that_ends_answers_its_open_requests_and_closes_its_link() -> None:
    edge = DrivenEdge()
    session = edge.with_session()
    edge.write(call(1))
    edge.posted()
    effects = edge.bridge_sends(Kind.ENDED, session=session, body=b"it exited")
    [error] = frames(effects)
    assert (error["id"], error["error"]["data"]["reason"]) == (1, "session_lost")
    assert effects[-1] == CloseLink("link", "it exited")
    assert edge.open == []
    assert edge.handle(LinkGone("link")) == []
    assert edge.posted() == []  # its owner knows that it has ended


def test_a_modern_request_on_the_link_of_a_session_that_ends_is_cancelled_once() -> None:
    edge = DrivenEdge()
    edge.open_link()
    edge.write(request(1, "prompts/list", modern=True))
    modern = edge.open[0]
    edge.bridge_sends(Kind.TAKEN, modern, attempt=1)
    edge.write(initialize())
    session = edge.open[-1]
    edge.bridge_sends(Kind.TAKEN, session, attempt=1)
    edge.bridge_answers(session, INITIALIZED, session=session)
    edge.posted()
    edge.bridge_sends(Kind.ENDED, session=session)
    edge.handle(LinkGone("link"))
    assert [(envelope.kind, envelope.exchange) for envelope in edge.posted()] == [(Kind.CANCEL, modern)]
    assert edge.records[-1] == ("prompts/list", "cancelled")
    assert edge.open == []


def test_a_client_that_leaves_ends_its_session_and_its_open_requests() -> None:
    edge = DrivenEdge()
    session = edge.with_session()
    edge.write(call(1))
    edge.posted()
    assert edge.handle(LinkGone("link")) == []
    assert edge.open == []
    assert [(envelope.kind, envelope.session) for envelope in edge.posted()] == [(Kind.END, session)]
    assert edge.records == [("tools/call", "cancelled")]
    assert edge.core.long_links.bound == {}


def test_a_bridge_that_is_given_up_ends_the_sessions_that_it_ran() -> None:
    edge = DrivenEdge()
    edge.with_session()
    edge.write(call(1))
    effects = edge.pass_time(6.0, bridge_lives=False)
    assert [error["error"]["data"]["reason"] for error in frames(effects)] == ["session_lost"]
    assert effects[-1] == CloseLink("link", "the bridge that ran this session is gone")


def test_open_requests_are_answered_when_the_input_of_their_client_lapses() -> None:
    edge = DrivenEdge()
    edge.open_link()
    edge.write(request(1, "prompts/list", modern=True))
    edge.write(call(2, modern=True))  # it waits for the tool list of its server
    edge.write(request(3, "subscriptions/listen", modern=True))
    assert [exchange.request.client_id for exchange in edge.core.long_links.unanswered("link")] == [b"1", b"2"]
    errors = frames(edge.handle(InputLapsed("link")))
    assert [error["id"] for error in errors] == [1, 2]
    assert "did not list its tools" in errors[1]["error"]["message"]
    listing = next(id for id, exchange in edge.core.router.exchanges.items() if exchange.request.method == "tools/list")
    assert frames(edge.bridge_answers(listing, {"tools": []})) == []  # the call was answered already
    assert not edge.core.long_links.unanswered("link")


# ---------------------------------------------------------------- clients that have ended their input
def test_a_link_whose_input_has_ended_is_idle_once_its_last_request_is_answered() -> None:
    edge = DrivenEdge()
    session = edge.with_session()
    edge.write(request(1))
    edge.write(request(2))
    first, second = edge.open
    assert edge.handle(InputEnded("link")) == []
    assert LinkIdle("link") not in edge.bridge_answers(first, session=session)
    assert edge.bridge_answers(second, session=session)[-1] == LinkIdle("link")


def test_a_link_whose_input_has_ended_is_not_idle_while_frames_wait_behind_an_initialize() -> None:
    edge = DrivenEdge()
    edge.open_link()
    edge.write(initialize())
    [session] = edge.open
    edge.write(request(1))
    assert edge.handle(InputEnded("link")) == []
    edge.bridge_sends(Kind.TAKEN, session, attempt=1)
    assert LinkIdle("link") not in edge.bridge_answers(session, INITIALIZED, session=session)
    [pipelined] = edge.open
    assert edge.bridge_answers(pipelined, session=session)[-1] == LinkIdle("link")


def test_a_link_whose_input_has_ended_is_idle_at_once_without_a_request_but_a_subscription() -> None:
    edge = DrivenEdge()
    edge.open_link()
    edge.write(request(1, "subscriptions/listen", modern=True))
    assert edge.handle(InputEnded("link")) == [LinkIdle("link")]
    assert edge.handle(InputEnded("gone")) == [LinkIdle("gone")]


def test_a_link_whose_last_request_is_cancelled_or_whose_session_ends_is_idle() -> None:
    edge = DrivenEdge()
    edge.open_link()
    edge.write(call("a", modern=True))
    edge.handle(InputEnded("link"))
    assert LinkIdle("link") in edge.write(frame(method="notifications/cancelled", params={"requestId": "a"}))
    session = edge.with_session("other")
    edge.write(request(1), "other")
    edge.handle(InputEnded("other"))
    ends = edge.bridge_sends(Kind.ENDED, session=session, body=b"it ended")
    assert LinkIdle("other") in ends
    assert any(isinstance(effect, CloseLink) for effect in ends)

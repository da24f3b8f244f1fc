"""HTTP requests: how each POST, GET and DELETE is answered, and what remains when its client hangs up."""

from __future__ import annotations

import msgspec

from fabric.core import request_state
from fabric.core.edge.exchange import Exchange
from fabric.core.effects import Accept, Establish, Finish, Send
from fabric.core.events import AnswerAwaited, LinkGone, SessionEnded, SessionRef, StreamOpened
from fabric.core.peers.announcement import Announcement, Health, Role, Served
from fabric.envelope import VERSION, Kind
from tests.unit.core.edge.driven_edge import SESSION, DrivenEdge, frame, frames, initialize, request


def reason(message: dict[str, dict[str, dict[str, str]]]) -> str:
    return message["error"]["data"]["reason"]


def only(edge: DrivenEdge) -> Exchange:
    [exchange] = edge.core.router.exchanges.values()
    return exchange


# ---------------------------------------------------------------- posts without a session
def test_a_post_is_answered_with_the_id_of_its_client() -> None:
    edge = DrivenEdge()
    edge.post(request("mine", modern=True))
    [answer] = edge.bridge_answers(edge.open[0], {"ok": True})
    assert answer == Send("post", b'{"jsonrpc":"2.0","id":"mine","result":{"ok":true}}', "", True)
    assert not edge.core.http_requests.responses.open


def test_a_notification_without_a_session_is_accepted_and_a_ping_answered_by_the_edge() -> None:
    edge = DrivenEdge()
    assert edge.post(frame(method="notifications/cancelled", params={"requestId": 1})) == [Accept("post")]
    assert edge.post(frame(id=1, method="ping")) == [Send("post", b'{"jsonrpc":"2.0","id":1,"result":{}}', "", True)]
    assert edge.open == []


def test_a_message_that_needs_a_session_and_names_none_is_refused() -> None:
    edge = DrivenEdge()
    for body, code in ((request(1), -32602), (frame(id=1, result={}), -32600)):
        [error] = edge.post(body)
        assert isinstance(error, Send)
        assert error.final
        assert msgspec.json.decode(error.frame)["error"]["code"] == code
    assert not edge.core.http_requests.responses.open


def test_a_message_before_the_answer_is_sent_unless_its_client_accepts_only_the_answer() -> None:
    for answer_only, count in ((False, 1), (True, 0)):
        edge = DrivenEdge()
        edge.post(request(1, modern=True), answer_only=answer_only)
        notification = frame(method="notifications/message", params={"level": "info", "data": "x"})
        assert (
            edge.bridge_sends(Kind.MESSAGE, edge.open[0], attempt=1, body=notification) == [Send("post", notification)] * count
        )


def test_a_call_whose_headers_contradict_its_arguments_is_refused_once_the_tools_are_known() -> None:
    edge = DrivenEdge()
    edge.post(request(1, "tools/call", modern=True, name="t", arguments={"city": "Rome"}), params=(("city", "Oslo"),))
    [listing] = edge.open  # the call waits for the tool list
    schema = {"properties": {"city": {"type": "string", "x-mcp-header": "City"}}}
    [error] = frames(edge.bridge_answers(listing, {"tools": [{"name": "t", "inputSchema": schema}]}))
    assert error["error"]["code"] == -32020
    assert edge.open == []
    assert not edge.core.http_requests.responses.open


def test_a_call_that_waits_for_the_tools_is_not_sent_when_its_client_has_left() -> None:
    edge = DrivenEdge()
    edge.post(request(1, "tools/call", modern=True, name="t"))
    edge.handle(LinkGone("post"))
    assert edge.bridge_answers(edge.open[0], {"tools": []}) == []
    assert edge.open == []


def test_a_client_without_a_session_that_hangs_up_cancels_its_request() -> None:
    edge = DrivenEdge()
    edge.post(request(1, modern=True))
    edge.bridge_sends(Kind.TAKEN, edge.open[0], attempt=1)
    edge.handle(LinkGone("post"))
    assert edge.open == []
    assert [envelope.kind for envelope in edge.posted()] == [Kind.CANCEL]
    assert edge.records == [("prompts/list", "cancelled")]


# ---------------------------------------------------------------- sessions
def test_an_answered_initialize_establishes_its_session_before_the_answer_leaves() -> None:
    edge = DrivenEdge()
    edge.post(initialize())
    session = edge.open[0]
    edge.bridge_sends(Kind.TAKEN, session, attempt=1)
    established, answer = edge.bridge_answers(session, {"protocolVersion": "2025-11-25"}, session=session)
    assert isinstance(established, Establish)
    assert (established.session, established.owner, established.opening) == (session, "b", initialize())
    assert isinstance(answer, Send)
    assert answer.final


def test_a_slow_initialize_gets_its_session_before_the_answer_and_not_again_with_it() -> None:
    edge = DrivenEdge()
    edge.post(initialize())
    session = edge.open[0]
    assert edge.handle(AnswerAwaited("post")) == []  # no bridge owns it yet
    edge.bridge_sends(Kind.TAKEN, session, attempt=1)
    established, nothing = edge.handle(AnswerAwaited("post"))
    assert isinstance(established, Establish)
    assert (established.owner, established.answer) == ("b", b"")
    assert nothing == Send("post", b"")
    assert edge.handle(AnswerAwaited("post")) == []
    [answer] = edge.bridge_answers(session, {"protocolVersion": "2025-11-25"}, session=session)
    assert isinstance(answer, Send)


def test_a_request_of_a_session_goes_to_its_owner_with_the_id_and_token_of_its_client() -> None:
    edge = DrivenEdge()
    edge.post(request(1, "tools/call", name="t", _meta={"progressToken": "p"}), session=SESSION)
    [envelope] = edge.posted()
    assert (envelope.kind, envelope.session, envelope.client_id, envelope.token) == (Kind.REQUEST, "session", b"1", b'"p"')
    edge.bridge_sends(Kind.MESSAGE, envelope.exchange, event=4, body=frame(method="notifications/message", params={}))
    [answer] = edge.bridge_answers(envelope.exchange, event=5)
    assert isinstance(answer, Send)
    assert answer.event == f"{envelope.exchange}.5"  # on a stream that can be resumed


def test_a_session_of_another_client_or_server_is_refused() -> None:
    edge = DrivenEdge()
    for session in (
        msgspec.structs.replace(SESSION, principal="another"),
        msgspec.structs.replace(SESSION, server="old"),
    ):
        [error] = frames(edge.post(request(1), session=session))
        assert (reason(error), error["id"]) == ("session_lost", None)
    assert edge.posted() == []
    assert not edge.core.http_requests.responses.open


def test_a_notification_is_accepted_when_the_owner_has_written_it() -> None:
    edge = DrivenEdge()
    assert edge.post(frame(method="notifications/roots/list_changed"), session=SESSION) == []
    [envelope] = edge.posted()
    assert envelope.kind is Kind.FRAME
    assert edge.bridge_sends(Kind.WRITTEN, envelope.exchange) == [Accept("post")]


def test_a_cancel_in_a_session_overtakes_the_data_lane() -> None:
    edge = DrivenEdge()
    edge.post(frame(method="notifications/cancelled", params={"requestId": 1}), session=SESSION)
    [envelope] = edge.core.member.pairs.get("b").control_out.kept
    assert envelope.kind is Kind.FRAME
    assert edge.bridge_sends(Kind.WRITTEN, envelope.exchange) == [Accept("post")]


def test_a_delete_is_accepted_when_the_owner_has_ended_the_session() -> None:
    edge = DrivenEdge()
    edge.handle(SessionEnded("delete", SESSION))
    [envelope] = edge.posted()
    assert envelope.kind is Kind.END
    assert edge.bridge_sends(Kind.WRITTEN, envelope.exchange) == [Accept("delete")]


def test_a_session_is_lost_once_it_is_certain_that_its_owner_is_unknown() -> None:
    edge = DrivenEdge()
    session = msgspec.structs.replace(SESSION, owner="gone")
    assert edge.post(request(1), session=session) == []
    assert len(edge.core.http_requests.awaiting_owner) == 1
    [error] = frames(edge.pass_time(7.5))
    assert reason(error) == "session_lost"
    assert not edge.core.http_requests.awaiting_owner


def test_a_client_of_a_session_that_hangs_up_does_not_cancel_its_request() -> None:
    for streaming, posted in ((False, []), (True, [Kind.DETACH])):
        edge = DrivenEdge()
        edge.post(request(1), session=SESSION)
        [envelope] = edge.posted()
        if streaming:
            edge.bridge_sends(Kind.MESSAGE, envelope.exchange, event=1, body=frame(method="notifications/message"))
        edge.handle(LinkGone("post"))
        assert [envelope.kind for envelope in edge.posted()] == posted
        assert edge.open == [envelope.exchange]
        assert edge.bridge_answers(envelope.exchange) == []
        assert edge.open == []


# ---------------------------------------------------------------- event streams
def test_an_event_stream_carries_its_sessions_messages_by_number_until_it_ends() -> None:
    edge = DrivenEdge()
    edge.handle(StreamOpened("get", SESSION, ""))
    [envelope] = edge.posted()
    assert (envelope.kind, envelope.event, envelope.body) == (Kind.ATTACH, -1, b"")
    assert edge.bridge_sends(Kind.MESSAGE, envelope.exchange, event=0) == [Send("get", b"", "session.0")]
    assert edge.bridge_sends(Kind.ENDED, envelope.exchange) == [Finish("get")]
    assert edge.open == []


def test_a_stream_is_resumed_after_its_last_event_id() -> None:
    edge = DrivenEdge()
    edge.handle(StreamOpened("get", SESSION, "e-1-some.request.7"))
    [envelope] = edge.posted()
    assert (envelope.event, envelope.body) == (7, b"e-1-some.request")
    [sent] = edge.bridge_sends(Kind.MESSAGE, envelope.exchange, event=8, body=b"{}")
    assert sent == Send("get", b"{}", "e-1-some.request.8")


def test_an_event_id_of_unknown_form_is_refused() -> None:
    for id in ("7", ".7", "stream.", "stream.-1", "stream.x", "stream.1234567890123456"):
        edge = DrivenEdge()
        [error] = frames(edge.handle(StreamOpened("get", SESSION, id)))
        assert reason(error) == "invalid"
        assert edge.open == []


def test_a_stream_that_fails_is_refused_before_its_first_event_and_ends_after_it() -> None:
    for streaming in (False, True):
        edge = DrivenEdge()
        edge.handle(StreamOpened("get", SESSION, ""))
        exchange = edge.open[0]
        if streaming:
            edge.bridge_sends(Kind.MESSAGE, exchange, event=0)
        effects = edge.bridge_sends(
            Kind.ANSWER, exchange, attempt=1, body=frame(id=exchange, error={"code": 1, "message": "m"})
        )
        assert (effects == [Finish("get")]) is streaming
        assert bool(frames(effects)) is not streaming


def test_a_stream_ends_when_it_is_resumed_at_another_edge() -> None:
    edge = DrivenEdge()
    edge.handle(StreamOpened("get", SESSION, ""))
    exchange = edge.open[0]
    assert edge.bridge_sends(Kind.DETACH, exchange) == [Finish("get")]
    assert edge.bridge_sends(Kind.MESSAGE, exchange, event=1, body=b"{}") == []
    assert not edge.core.http_requests.responses.open


def test_an_event_stream_whose_reader_hangs_up_is_detached() -> None:
    edge = DrivenEdge()
    edge.handle(StreamOpened("get", SESSION, ""))
    edge.posted()
    edge.handle(LinkGone("get"))
    assert [envelope.kind for envelope in edge.posted()] == [Kind.DETACH]
    assert edge.open == []
    assert edge.records == []


def test_a_call_of_a_session_whose_owner_is_announced_late_is_sent_though_its_client_hung_up() -> None:
    edge = DrivenEdge()
    edge.post(request(1), session=SessionRef("session", "late", "s", "p"))
    edge.handle(LinkGone("post"))  # this cancels no request of a session
    edge.announced("late", Announcement(Role.BRIDGE, 1, "k", (VERSION,)))
    edge.pass_time(0.5)
    assert [envelope.kind for envelope in edge.posted("late")] == [Kind.REQUEST]


# ---------------------------------------------------------------- batches
OLD_SESSION = msgspec.structs.replace(SESSION, version="2025-03-26")
NOTIFICATION = frame(method="notifications/x")


def batch(*members: bytes) -> bytes:
    return b"[" + b",".join(members) + b"]"


def test_a_posted_batch_is_answered_in_one_array_with_its_last_answer() -> None:
    edge = DrivenEdge()
    members = batch(request(1), NOTIFICATION, request(2), frame(id=3, method="initialize"))
    assert edge.post(members, session=OLD_SESSION) == []
    first, notification, second = (envelope.exchange for envelope in edge.posted())
    assert edge.bridge_answers(second) == []
    assert edge.bridge_sends(Kind.WRITTEN, notification) == []
    [response] = edge.bridge_answers(first)
    assert isinstance(response, Send)
    assert response.final
    assert [answer["id"] for answer in msgspec.json.decode(response.frame)] == [3, 2, 1]
    assert not edge.core.http_requests.batches


def test_a_batch_without_requests_is_accepted_when_all_is_written_and_refused_when_a_part_fails() -> None:
    for owner, effect in (("b", Accept), ("gone", Send)):
        edge = DrivenEdge()
        session = msgspec.structs.replace(OLD_SESSION, owner=owner)
        effects = edge.post(batch(NOTIFICATION, NOTIFICATION), session=session)
        assert effects == []
        for envelope in edge.posted():
            effects += edge.bridge_sends(Kind.WRITTEN, envelope.exchange)
        effects += edge.pass_time(8.0)
        assert [type(effect) for effect in effects] == [effect]


def test_a_batch_whose_members_are_all_cancelled_ends_without_an_answer() -> None:
    edge = DrivenEdge()
    edge.post(batch(request(1), request(2)), session=OLD_SESSION)
    first, second = edge.open
    assert edge.bridge_sends(Kind.ENDED, first) == []
    assert edge.bridge_sends(Kind.ENDED, second) == [Finish("post")]


def test_messages_before_the_answers_of_a_batch_have_no_event_id() -> None:
    edge = DrivenEdge()
    edge.post(batch(request(1), request(2)), session=OLD_SESSION)
    first, second = edge.open
    message = frame(method="notifications/message", params={})
    assert edge.bridge_sends(Kind.MESSAGE, second, event=4, body=message) == [Send("post", message)]
    edge.bridge_sends(Kind.ENDED, first)
    assert edge.bridge_sends(Kind.ENDED, second) == [Finish("post")]


def test_long_answers_of_a_batch_leave_early_unless_its_client_accepts_no_stream() -> None:
    for answer_only in (False, True):
        edge = DrivenEdge()
        edge.post(batch(*(request(id) for id in range(8))), session=OLD_SESSION, answer_only=answer_only)
        exchanges = edge.open
        early = [frames(edge.bridge_answers(exchange, {"text": "x" * 900_000})) for exchange in exchanges[:-1]]
        [last] = frames(edge.bridge_answers(exchanges[-1]))
        assert [bool(array) for array in early] == [False] * 4 + [not answer_only] + [False] * 2
        assert len(last) == (8 if answer_only else 3)
        assert ("too_large" in str(last)) is answer_only


def test_a_batch_is_refused_outside_the_revision_with_batches() -> None:
    for session in (SESSION, None):
        edge = DrivenEdge()
        [error] = frames(edge.post(batch(request(1)), session=session))
        assert (error["id"], error["error"]["code"]) == (None, -32600)
        assert edge.open == []


def test_a_client_that_hangs_up_on_its_batch_does_not_end_the_session() -> None:
    edge = DrivenEdge()
    edge.post(batch(request(1), request(2)), session=OLD_SESSION)
    first, second = edge.open
    edge.posted()
    edge.bridge_sends(Kind.MESSAGE, first, body=frame(method="notifications/message"))
    edge.handle(LinkGone("post"))
    assert [(envelope.kind, envelope.exchange) for envelope in edge.posted()] == [(Kind.DETACH, first)]
    assert edge.bridge_answers(first) == edge.bridge_answers(second) == []
    assert edge.open == []
    assert not edge.core.http_requests.batches


def test_a_state_of_a_bridge_that_does_not_serve_the_server_has_an_unknown_outcome() -> None:
    edge = DrivenEdge()
    served = {"old": Served("d", free=4, health=Health.HEALTHY)}
    edge.announced("other", Announcement(Role.BRIDGE, 1, "k", (VERSION,), serves=served))
    state = request_state.wrap("other", "old#1", "own")
    (answer,) = frames(edge.post(request(1, "tools/call", modern=True, requestState=state)))
    assert answer["error"]["data"]["reason"] == "outcome_unknown"
    assert edge.posted("other") == []

"""Sessions: each has a process of its own, and each of its messages reaches its client through any edge."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabric.core.bridge.sessions.eviction import EVICT_AFTER
from fabric.core.bridge.sessions.sessions import PRIMED_AFTER
from fabric.core.effects import Effect, StopServer
from fabric.core.events import ServerBehind, ServerCaughtUp
from fabric.envelope import Envelope, Kind
from fabric.errors import InvalidFrame
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import parse
from tests.unit.core.bridge.driven_bridge import INITIALIZED, LEGACY, MODERN, DrivenBridge, frame, notification, result, written

LOG = notification("notifications/message", level="info", data="x")


def fault(envelope: Envelope) -> tuple[str, bool]:
    """The reason of a fabric error, and whether it is retryable."""
    data = msgspec.json.decode(envelope.body)["error"]["data"]
    return data["reason"], data["retryable"]


def stopped(effects: list[Effect]) -> list[str]:
    return [effect.child for effect in effects if isinstance(effect, StopServer)]


def placed(envelopes: list[Envelope]) -> list[tuple[Kind, str]]:
    return [(envelope.kind, envelope.exchange) for envelope in envelopes]


# ---------------------------------------------------------------- beginning
def test_an_initialize_opens_a_session_in_a_process_of_its_own() -> None:
    bridge = DrivenBridge(LEGACY)
    children = [bridge.session("a"), bridge.session("b")]
    assert len(set(children)) == 2
    for session, child in zip("ab", children, strict=True):
        assert [message.id for message in written(bridge.request(f"in {session}", session=session), child)] == [
            b'"in %b"' % session.encode()
        ]


def test_the_answer_to_an_initialize_names_the_session_that_it_has_opened() -> None:
    bridge = DrivenBridge(LEGACY)
    bridge.initialize("session")
    child = bridge.core.sessions.open["session"].child
    bridge.server_writes(child, result("session", **INITIALIZED))
    (answer,) = bridge.posted(Kind.ANSWER)
    assert (answer.exchange, answer.session) == ("session", "session")


def test_an_initialize_that_is_refused_opens_no_session_and_its_process_is_stopped() -> None:
    bridge = DrivenBridge(LEGACY)
    bridge.initialize("session")
    child = bridge.core.sessions.open["session"].child
    effects = bridge.server_writes(child, frame(id="session", error={"code": -32602, "message": "no"}))
    (answer,) = bridge.posted(Kind.ANSWER)
    assert (answer.session, stopped(effects), bridge.core.sessions.open) == ("", [child], {})


def test_a_cancelled_initialize_ends_its_process_and_is_not_cancelled_at_the_server() -> None:
    bridge = DrivenBridge(LEGACY)
    bridge.initialize("session")
    child = bridge.core.sessions.open["session"].child
    effects = bridge.send(Kind.CANCEL, exchange="session", attempt=1)
    assert (written(effects), stopped(effects), bridge.core.sessions.open) == ([], [child], {})


def test_a_full_server_returns_an_initialize_until_an_abandoned_session_gives_way() -> None:
    bridge = DrivenBridge(LEGACY, max_processes=1)
    old = bridge.session("old")
    bridge.initialize("new")
    assert placed(bridge.posted(Kind.RETURNED)) == [(Kind.RETURNED, "new")]
    bridge.pass_time(EVICT_AFTER)
    assert stopped(bridge.initialize("new")) == [old]
    assert list(bridge.core.sessions.open) == ["new"]


def test_a_session_that_replaced_another_does_not_hasten_the_end_of_others() -> None:
    bridge = DrivenBridge(LEGACY, max_processes=2)
    first = bridge.session("first")
    bridge.pass_time(0.4 * EVICT_AFTER)
    bridge.session("second")
    bridge.pass_time(0.65 * EVICT_AFTER)
    assert stopped(bridge.initialize("third")) == [first]
    bridge.pass_time(0.5)
    assert stopped(bridge.initialize("fourth")) == []
    assert list(bridge.core.sessions.open) == ["second", "third"]


# ---------------------------------------------------------------- messages of clients
@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.FRAME, Kind.ATTACH, Kind.END])
def test_each_message_for_an_ended_session_is_answered_with_session_lost(kind: Kind) -> None:
    bridge = DrivenBridge(LEGACY)
    bridge.send(kind, exchange="x", session="gone", server="s", body=frame(id="x", method="tools/list"))
    (answer,) = bridge.posted(Kind.ANSWER, Kind.WRITTEN)
    assert (answer.kind, answer.exchange, fault(answer)) == (Kind.ANSWER, "x", ("session_lost", True))


def test_a_notification_is_written_before_it_is_reported_as_written() -> None:
    bridge = DrivenBridge(LEGACY)
    child = bridge.session()
    effects = bridge.client_sends(notification("notifications/initialized"), "x")
    assert [message.method for message in written(effects, child)] == ["notifications/initialized"]
    assert placed(bridge.posted()) == [(Kind.WRITTEN, "x")]


def test_the_answer_to_a_server_request_reaches_the_server_once_with_its_own_id() -> None:
    bridge = DrivenBridge(LEGACY)
    child = bridge.session(bound=True)
    bridge.server_writes(child, frame(id=7, method="roots/list"))
    (asked,) = bridge.posted(Kind.MESSAGE)
    answer = result(msgspec.json.decode(asked.body)["id"], roots=[])
    assert [message.id for message in written(bridge.client_sends(answer), child)] == [b"7"]
    assert written(bridge.client_sends(answer), child) == []


def test_messages_over_http_to_a_process_with_too_much_unread_are_refused() -> None:
    bridge = DrivenBridge(LEGACY, unread_bytes=100)
    child = bridge.session()
    bridge.handle(ServerBehind(child, 101))
    assert written(bridge.request("x")) == []
    assert written(bridge.client_sends(notification("notifications/initialized"), "y")) == []
    assert [(answer.exchange, fault(answer)) for answer in bridge.posted(Kind.ANSWER)] == [
        ("x", ("overloaded", True)),
        ("y", ("overloaded", True)),
    ]
    bridge.handle(ServerCaughtUp(child))
    assert len(written(bridge.request("z"))) == 1


def test_the_long_link_of_a_process_with_too_much_unread_is_held_and_no_message_is_refused() -> None:
    bridge = DrivenBridge(LEGACY, unread_bytes=100)
    child = bridge.session(bound=True)
    bridge.handle(ServerBehind(child, 101))
    assert len(written(bridge.request("x"))) == 1
    bridge.handle(ServerCaughtUp(child))
    assert [envelope.kind for envelope in bridge.posted()] == [Kind.HOLD, Kind.RELEASE]


def test_a_cancel_ends_the_newest_request_of_its_id_in_the_session() -> None:
    bridge = DrivenBridge(LEGACY)
    child = bridge.session()
    bridge.request("first", 1)
    bridge.request("second", 1)
    (cancel,) = written(bridge.client_sends(notification("notifications/cancelled", requestId=1), "c"), child)
    assert msgspec.json.decode(cancel.params) == {"requestId": "second"}
    assert placed(bridge.posted()) == [(Kind.ENDED, "second"), (Kind.WRITTEN, "c")]
    assert list(bridge.core.jobs.open) == ["first"]


def test_a_cancel_that_overtook_its_request_is_applied_when_the_request_comes() -> None:
    bridge = DrivenBridge(LEGACY)
    child = bridge.session()
    cancel = notification("notifications/cancelled", requestId=5)
    bridge.send(Kind.FRAME, urgent=True, after=1, session="session", body=cancel)  # after one data message
    effects = bridge.request("x", 5)
    assert [message.method for message in written(effects, child)] == ["tools/call", "notifications/cancelled"]
    assert not bridge.core.jobs.open


# ---------------------------------------------------------------- messages of servers
def test_a_message_goes_to_the_newest_open_request_or_else_to_the_sessions_own_stream() -> None:
    bridge = DrivenBridge(LEGACY)
    child = bridge.session()
    bridge.send(Kind.ATTACH, exchange="get", session="session")
    bridge.request("first")
    bridge.request("second", 2)
    bridge.posted()
    bridge.server_writes(child, LOG)
    assert placed(bridge.posted(Kind.MESSAGE))[-1] == (Kind.MESSAGE, "second")
    for exchange in ("second", "first"):
        bridge.server_writes(child, result(exchange))
    bridge.posted()
    bridge.server_writes(child, LOG)
    assert placed(bridge.posted()) == [(Kind.MESSAGE, "get")]


def test_a_message_to_a_bound_session_goes_to_its_link_and_names_the_request_only_for_progress() -> None:
    bridge = DrivenBridge(LEGACY)
    child = bridge.session(bound=True)
    bridge.request("x", token=b"1")
    bridge.server_writes(child, LOG)
    bridge.server_writes(child, notification("notifications/progress", progressToken="x", progress=1))
    assert placed(bridge.posted()) == [(Kind.MESSAGE, ""), (Kind.MESSAGE, "x")]


def test_progress_after_the_answer_or_before_the_session_is_open_is_dropped() -> None:
    bridge = DrivenBridge(LEGACY)
    bridge.initialize("session")
    child = bridge.core.sessions.open["session"].child
    bridge.server_starts(child)
    bridge.posted()
    bridge.server_writes(child, notification("notifications/progress", progressToken="session", progress=1))
    bridge.server_writes(child, result("session", **INITIALIZED))
    bridge.request("x")
    bridge.server_writes(child, result("x"))
    bridge.server_writes(child, notification("notifications/progress", progressToken="x", progress=1))
    assert placed(bridge.posted()) == [(Kind.ANSWER, "session"), (Kind.ANSWER, "x")]


def test_a_server_request_too_large_for_the_broker_is_refused_and_such_a_notification_dropped() -> None:
    bridge = DrivenBridge(LEGACY, largest_message_bytes=4096)
    child = bridge.session()
    text = "x" * 4096
    (refusal,) = written(
        bridge.server_writes(child, frame(id=7, method="sampling/createMessage", params={"text": text})), child
    )
    assert refusal.id == b"7"
    assert msgspec.json.decode(refusal.error)["message"].endswith("is more than passes this broker")
    assert written(bridge.server_writes(child, notification("notifications/message", data=text))) == []
    assert bridge.posted() == []


def test_a_slow_request_becomes_resumable_before_its_first_message() -> None:
    bridge = DrivenBridge(LEGACY)
    child = bridge.session()
    bridge.request("fast")
    bridge.server_writes(child, result("fast"))
    bridge.request("slow")
    bridge.acknowledge()
    bridge.posted()
    bridge.pass_time(PRIMED_AFTER + 0.25)
    (primed,) = bridge.posted(Kind.MESSAGE)
    assert (primed.kind, primed.exchange, primed.event, primed.body) == (Kind.MESSAGE, "slow", 0, b"")
    bridge.server_writes(child, result("slow"))
    assert [answer.event for answer in bridge.posted(Kind.ANSWER)] == [1]


def test_an_unknown_stream_cannot_be_resumed() -> None:
    bridge = DrivenBridge(LEGACY)
    bridge.session()
    bridge.send(Kind.ATTACH, exchange="get", session="session", body=b"no such stream", event=3)
    (answer,) = bridge.posted()
    assert (answer.exchange, fault(answer)) == ("get", ("invalid", False))


# ---------------------------------------------------------------- ends
def test_the_end_of_a_session_is_confirmed_after_its_open_requests_are_answered() -> None:
    bridge = DrivenBridge(LEGACY)
    child = bridge.session()
    bridge.request("x")
    effects = bridge.send(Kind.END, exchange="delete", session="session")
    assert stopped(effects) == [child]
    assert placed(bridge.posted()) == [(Kind.ANSWER, "x"), (Kind.WRITTEN, "delete")]
    assert not bridge.core.sessions.open


@pytest.mark.parametrize("bound", [True, False])
def test_a_session_whose_process_ends_is_reported_to_its_long_link_or_at_the_next_request_over_http(bound: bool) -> None:
    bridge = DrivenBridge(LEGACY)
    child = bridge.session(bound=bound)
    bridge.server_exits(child, "killed")
    ends = [(envelope.kind, envelope.session, envelope.body) for envelope in bridge.posted()]
    assert ends == [(Kind.ENDED, "session", b"killed")] * bound
    bridge.request("x")
    assert [fault(answer) for answer in bridge.posted()] == [("session_lost", True)]


def test_sessions_of_long_links_end_with_their_edge_and_sessions_over_http_go_on() -> None:
    bridge = DrivenBridge(LEGACY)
    link = bridge.session("link", bound=True)
    http = bridge.session("http")
    bridge.request("of the link", session="link")
    bridge.request("over http", session="http")
    effects = bridge.edge_leaves()
    assert (stopped(effects), list(bridge.core.sessions.open)) == ([link], ["http"])
    assert list(bridge.core.jobs.open) == ["over http"]
    bridge.posted()
    bridge.server_writes(http, result("over http"))
    assert bridge.posted() == []  # no client waits for it
    assert not bridge.core.jobs.open


def test_a_stream_whose_edge_is_gone_is_resumed_at_another() -> None:
    bridge = DrivenBridge(LEGACY)
    child = bridge.session()
    bridge.request("x")
    bridge.server_writes(child, LOG)
    bridge.edge_leaves()
    bridge.server_writes(child, result("x"))
    bridge.posted()
    bridge.send(Kind.ATTACH, edge="other", exchange="get", session="session", body=b"x", event=1)
    assert [(envelope.kind, envelope.exchange) for envelope in bridge.posted()] == [
        (Kind.MESSAGE, "get"),
        (Kind.MESSAGE, "get"),
        (Kind.ENDED, "get"),
    ]


def test_an_unused_session_ends_after_its_idle_time_unless_its_stream_is_read() -> None:
    bridge = DrivenBridge(LEGACY)
    idle, read = bridge.session("idle"), bridge.session("read")
    bridge.send(Kind.ATTACH, exchange="get", session="read")
    effects = bridge.pass_time(70.0)
    assert stopped(effects) == [idle]
    assert [session.child for session in bridge.core.sessions.open.values()] == [read]


def test_a_request_that_its_edge_cancels_is_answered_on_its_resumed_stream() -> None:
    bridge = DrivenBridge(LEGACY)
    child = bridge.session()
    bridge.request("x")
    bridge.server_writes(child, LOG)
    bridge.send(Kind.ATTACH, edge="other", exchange="get", session="session", body=b"x", event=1)
    bridge.posted()
    effects = bridge.send(Kind.CANCEL, exchange="x", attempt=1)
    assert [message.method for message in written(effects, child)] == ["notifications/cancelled"]
    (answer, end) = bridge.posted()
    assert (answer.exchange, fault(answer)) == ("get", ("outcome_unknown", False))
    assert (end.kind, end.exchange) == (Kind.ENDED, "get")


# ---------------------------------------------------------------- across eras
@pytest.mark.parametrize("sizes", [(9_900, 1), (1, 9_900)])
def test_a_question_too_large_for_the_broker_ends_its_call_with_all_its_questions(sizes: tuple[int, int]) -> None:
    bridge = DrivenBridge(MODERN, warm=0, largest_message_bytes=10_000)
    child = bridge.session_across_eras()
    bridge.request("in")
    asked = {f"q{size}": {"method": "elicitation/create", "params": {"message": "x" * size}} for size in sizes}
    bridge.server_writes(child, result("in", resultType="input_required", inputRequests=asked))
    *before, answer = [envelope for envelope in bridge.posted() if envelope.body]
    assert fault(answer) == ("too_large", False)
    messages = [parse(envelope.body) for envelope in before]
    open_questions = {jsonrpc.text(message.id) for message in messages if message.id}
    assert len(open_questions) == sizes.index(9_900)
    assert open_questions <= {jsonrpc.text(jsonrpc.refers_to(message)) for message in messages if not message.id}
    assert bridge.core.pools["s"].children[child].speaker.unanswered_by_clients == 0


def test_an_answer_that_cannot_be_carried_ends_its_call_also_in_a_later_round() -> None:
    bridge = DrivenBridge(MODERN, warm=0)
    child = bridge.session_across_eras()
    bridge.request("in")
    (again,) = written(bridge.server_writes(child, result("in", resultType="input_required", requestState="1")), child)
    bridge.posted()
    bridge.core.server_events.garbled(child, parse(result(jsonrpc.text(again.id))), InvalidFrame(0, "no"), bridge.now)
    bridge.pass_time(0.25)
    (answer,) = bridge.posted(Kind.ANSWER)
    assert (answer.exchange, fault(answer)) == ("in", ("invalid", False))


@pytest.mark.parametrize("id", [None, "", 7])
def test_an_answer_of_a_modern_server_without_a_usable_id_ends_the_only_request(id: Any) -> None:
    bridge = DrivenBridge(MODERN)
    child = bridge.session_across_eras()
    bridge.request("x")
    bridge.server_writes(child, frame(id=id, error={"code": -32603, "message": "no"}))
    (answer,) = bridge.posted(Kind.ANSWER)
    assert (answer.exchange, msgspec.json.decode(answer.body)["error"]["message"]) == ("x", "no")


def test_a_cancel_of_no_request_does_not_end_what_a_session_listens_to() -> None:
    bridge = DrivenBridge(MODERN)
    child = bridge.session_across_eras(tools={"listChanged": True})
    [listen] = written(bridge.client_sends(notification("notifications/initialized")), child)
    bridge.server_writes(child, notification("notifications/cancelled"))
    reference = {"io.modelcontextprotocol/subscriptionId": msgspec.json.decode(listen.id)}
    bridge.server_writes(child, notification("notifications/subscriptions/acknowledged", _meta=reference, notifications={}))
    assert bridge.core.sessions.open["session"].own.kept_messages == 0

"""The processes of a legacy server that a bridge initializes for modern clients: when they are started, refuse, and end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabric.core.bridge.processes.health import Checks
from fabric.core.bridge.processes.initialized import IDLE, INPUT_IN_LEAST
from fabric.core.bridge.sessions.eviction import EVICT_AFTER
from fabric.core.bridge.speaking.asking_calls import GRACE, REPLAYED
from fabric.core.bridge.speaking.modern import INPUT_IN
from fabric.core.effects import Effect, StopServer
from fabric.core.events import ServerFrame
from fabric.core.peers.announcement import Health
from fabric.envelope import Envelope, Kind
from fabric.faults import Fault, Reason, lost_answer
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message
from tests.unit.core.bridge.driven_bridge import INITIALIZED, LEGACY, DrivenBridge, frame, notification, result, written

ENDS = (Kind.ANSWER, Kind.RETURNED)
PREFIX = "io.modelcontextprotocol/"
SAMPLING: dict[str, Any] = {f"{PREFIX}clientCapabilities": {"sampling": {}}, f"{PREFIX}clientInfo": {"name": "c"}}

pytestmark = pytest.mark.requirement("P03")


def call(exchange: str, meta: dict[str, Any] | None = None, method: str = "tools/call", **params: Any) -> bytes:
    """A modern request."""
    version = {f"{PREFIX}protocolVersion": "2026-07-28"}
    return frame(id=exchange, method=method, params={"name": "t", "_meta": version | (meta or {})} | params)


def work(bridge: DrivenBridge, exchange: str, meta: dict[str, Any] | None = None, **params: Any) -> list[Effect]:
    """Work from the queue that is granted."""
    return bridge.work(exchange, body=call(exchange, meta, **params), repeatable=True)


def started(bridge: DrivenBridge) -> tuple[str, list[Message]]:
    """The newest process runs; what it is asked."""
    child = bridge.children[-1]
    return child, written(bridge.server_starts(child))


def initialize(bridge: DrivenBridge, **initialized: Any) -> tuple[str, list[Message]]:
    """The newest process runs and answers its initialize; what it is asked next."""
    child, [asked] = started(bridge)
    assert asked.method == "initialize"
    effects = bridge.server_writes(child, result(jsonrpc.text(asked.id), **INITIALIZED | initialized))
    return child, written(effects, child)


def stopped(effects: list[Effect]) -> list[str]:
    return [effect.child for effect in effects if isinstance(effect, StopServer)]


def loses(bridge: DrivenBridge, child: str, id: str, *, sent: bool = True) -> list[Effect]:
    """The link of a process loses the answer to a request."""
    fault = Fault(Reason.OUTCOME_UNKNOWN if sent else Reason.UNAVAILABLE, "the stream broke")
    return bridge.handle(ServerFrame(child, lost_answer(jsonrpc.quoted(id), fault, started=sent, again=True)))


def body(answer: Envelope) -> Any:
    return msgspec.json.decode(answer.body)


# ---------------------------------------------------------------- starts
def test_a_request_waits_until_a_process_is_initialized_and_is_written_behind_that() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    work(bridge, "x")
    child, asked = initialize(bridge)
    assert [message.method for message in asked] == ["notifications/initialized", "tools/call"]
    assert msgspec.json.decode(asked[1].frame)["params"] == {"name": "t"}
    bridge.server_writes(child, result("x", content=[]))
    (answer,) = bridge.posted(*ENDS)
    assert body(answer)["result"]["resultType"] == "complete"


def test_a_process_that_refuses_its_initialize_is_stopped_and_the_request_fails_with_its_reason() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    work(bridge, "x", SAMPLING)
    child, [asked] = started(bridge)
    effects = bridge.server_writes(child, frame(id=jsonrpc.text(asked.id), error={"code": -32600, "message": "not you"}))
    assert stopped(effects) == [child]
    (answer,) = bridge.posted(*ENDS)
    assert "refused to be initialized: not you" in body(answer)["error"]["message"]
    assert body(answer)["error"]["data"]["reason"] == "unavailable"


@pytest.mark.parametrize("sent", [True, False])
def test_work_goes_back_if_the_answer_to_the_initialize_is_lost(sent: bool) -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    work(bridge, "x", SAMPLING)
    child, [asked] = started(bridge)
    assert stopped(loses(bridge, child, jsonrpc.text(asked.id), sent=sent)) == [child]
    assert [(each.kind, each.repeatable) for each in bridge.posted(*ENDS)] == [(Kind.RETURNED, False)]


def test_a_process_that_never_answers_its_initialize_is_stopped() -> None:
    bridge = DrivenBridge(LEGACY, warm=0, start_timeout=20.0)
    work(bridge, "x")
    child, _ = started(bridge)
    assert child in stopped(bridge.pass_time(25.0))


def test_a_process_that_was_warm_for_long_has_its_whole_time_to_be_initialized() -> None:
    bridge = DrivenBridge(LEGACY, warm=1, start_timeout=20.0)
    child = bridge.children[-1]
    bridge.server_starts(child)
    bridge.pass_time(60.0)
    work(bridge, "x")
    assert child not in stopped(bridge.pass_time(19.0))
    assert child in stopped(bridge.pass_time(3.0))


def test_work_goes_back_where_the_server_has_as_many_processes_as_it_may_have() -> None:
    bridge = DrivenBridge(LEGACY, warm=0, max_processes=1)
    work(bridge, "x")
    initialize(bridge)
    work(bridge, "y", SAMPLING)
    assert [(each.kind, each.exchange) for each in bridge.posted(*ENDS)] == [(Kind.RETURNED, "y")]


@pytest.mark.parametrize("meta", [None, SAMPLING])
def test_a_session_that_is_left_alone_gives_way_to_a_modern_call_on_a_full_server(meta: dict[str, Any] | None) -> None:
    bridge = DrivenBridge(LEGACY, warm=0, max_processes=2)
    first, second = bridge.session("first"), bridge.session("second")
    work(bridge, "early", meta)
    assert [(each.kind, each.exchange) for each in bridge.posted(*ENDS)] == [(Kind.RETURNED, "early")]
    bridge.pass_time(EVICT_AFTER + 1.0)
    assert stopped(work(bridge, "x", meta)) == [first]
    initialize(bridge)
    assert stopped(work(bridge, "y")) == ([second] if meta else [])  # a call that finds a process evicts no session
    assert bridge.posted(Kind.RETURNED) == []


def test_a_request_that_is_cancelled_while_it_waits_reaches_no_process() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    work(bridge, "x")
    bridge.send(Kind.CANCEL, exchange="x", attempt=1)
    _, asked = initialize(bridge)
    assert [message.method for message in asked] == ["notifications/initialized"]


def test_work_waits_for_the_restart_of_a_server_whose_process_dies_at_once() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    work(bridge, "x")
    bridge.server_exits(bridge.children[-1])
    count = len(bridge.children)
    bridge.pass_time(0.25)
    assert len(bridge.children) == count + 1  # the probe of the restart, which comes first
    assert bridge.posted(*ENDS) == []


def test_a_revision_that_is_not_known_is_refused_with_those_that_are() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    bridge.work("x", body=call("x", {f"{PREFIX}protocolVersion": "2099-01-01"}), repeatable=True)
    initialize(bridge)
    (answer,) = bridge.posted(*ENDS)
    assert body(answer)["error"]["code"] == -32022
    assert body(answer)["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2099-01-01"}


# ---------------------------------------------------------------- questions
def parked(bridge: DrivenBridge, exchange: str = "x", child: str = "") -> tuple[str, str]:
    """A call that its server has asked for input; its process, and the state."""
    work(bridge, exchange, SAMPLING)
    if not child:
        child, _ = initialize(bridge)
    bridge.server_writes(child, frame(id=7, method="sampling/createMessage", params={}))
    answer = bridge.posted(*ENDS)[-1]
    assert answer.exchange == exchange
    return child, body(answer)["result"]["requestState"]


def retry(bridge: DrivenBridge, exchange: str, state: str, input: object = msgspec.UNSET) -> list[Effect]:
    """The client brings the input, or this."""
    given = {"input-1": {"role": "assistant"} if input is msgspec.UNSET else input}
    params = call(exchange, SAMPLING, requestState=state, inputResponses=given)
    return bridge.send(Kind.REQUEST, exchange=exchange, server="s", attempt=1, body=params)


def test_a_server_may_ask_for_input_only_in_a_request_that_allows_it() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    bridge.work("x", body=call("x", SAMPLING, "completion/complete"), repeatable=True)
    child, _ = initialize(bridge)
    [refusal] = written(bridge.server_writes(child, frame(id=7, method="sampling/createMessage", params={})))
    assert refusal.error
    assert bridge.posted(*ENDS) == []


@pytest.mark.parametrize(("failed", "code"), [(True, -32021), (False, None)])
def test_a_call_that_fails_for_an_undeclared_capability_names_it(failed: bool, code: int | None) -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    work(bridge, "x", SAMPLING)
    child, _ = initialize(bridge)
    [refusal] = written(bridge.server_writes(child, frame(id=7, method="roots/list")))
    assert refusal.error
    bridge.server_writes(child, result("x", content=[{"type": "text", "text": "disk full"}], isError=failed))
    error = body(bridge.posted(*ENDS)[-1]).get("error")
    assert (error and error["code"]) == code
    if failed:
        assert error["data"] == {"requiredCapabilities": {"roots": {}}}
        assert error["message"].endswith("did not declare: roots: disk full")  # the tool may have failed for another reason


def test_a_question_refused_for_its_mode_names_no_capability_that_the_client_declared() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    work(bridge, "x", SAMPLING | {f"{PREFIX}clientCapabilities": {"elicitation": {"form": {}}}})
    child, _ = initialize(bridge)
    bridge.server_writes(child, frame(id=7, method="elicitation/create", params={"mode": "url"}))
    bridge.server_writes(child, frame(id="x", error={"code": -32603, "message": "no URL"}))
    assert body(bridge.posted(*ENDS)[-1])["error"] == {"code": -32603, "message": "no URL"}


def test_a_call_that_ends_while_it_is_parked_answers_the_retry_and_frees_its_process() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    child, state = parked(bridge)
    bridge.server_writes(child, result("x", content=[]))
    assert [message.method for message in written(work(bridge, "y", SAMPLING), child)] == ["tools/call"]
    retry(bridge, "x2", state)
    answer = bridge.posted(*ENDS)[-1]
    assert (answer.exchange, body(answer)["result"]["resultType"]) == ("x2", "complete")


def test_a_state_opens_no_subscription() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    _, state = parked(bridge)
    params = call("x2", SAMPLING, "subscriptions/listen", requestState=state, notifications={"toolsListChanged": True})
    bridge.send(Kind.REQUEST, exchange="x2", server="s", attempt=1, body=params)
    assert body(bridge.posted(*ENDS)[-1])["error"]["code"] == -32602


def test_a_question_that_is_too_large_for_the_broker_is_refused() -> None:
    bridge = DrivenBridge(LEGACY, warm=0, largest_message_bytes=4096)
    work(bridge, "x", SAMPLING)
    child, _ = initialize(bridge)
    question = frame(id=7, method="sampling/createMessage", params={"text": "x" * 4096})
    [refusal] = written(bridge.server_writes(child, question))
    assert b"is more than passes this broker" in bytes(refusal.error)
    assert bridge.posted(*ENDS) == []


def test_a_question_that_the_server_withdraws_is_not_answered() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    child, state = parked(bridge)
    bridge.server_writes(child, notification("notifications/cancelled", requestId=7))
    assert written(retry(bridge, "x2", state)) == []


@pytest.mark.parametrize("meta", [{}, {"progressToken": "x2"}])
def test_only_a_retry_with_a_progress_token_gets_the_progress_of_its_call(meta: dict[str, Any]) -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    child, state = parked(bridge)
    params = call("x2", SAMPLING | meta, requestState=state, inputResponses={"input-1": {}})
    bridge.send(Kind.REQUEST, exchange="x2", server="s", attempt=1, body=params)
    bridge.server_writes(child, notification("notifications/progress", progressToken="x", progress=1))
    assert len(bridge.posted(Kind.MESSAGE)) == len(meta)


@pytest.mark.parametrize("input", [None, 5, "x", []])
def test_input_that_is_no_object_is_asked_for_again(input: object) -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    _, state = parked(bridge)
    assert written(retry(bridge, "x2", state, input)) == []
    assert list(body(bridge.posted(*ENDS)[-1])["result"]["inputRequests"]) == ["input-1"]


def test_an_answer_that_was_lost_on_its_way_ends_a_call() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    work(bridge, "x", SAMPLING)
    child, _ = initialize(bridge)
    bridge.server_writes(child, frame(id="x", result={"content": "x" * (1 << 20)}))
    assert body(bridge.posted(*ENDS)[-1])["error"]["data"]["reason"] == "too_large"
    [refusal] = written(bridge.server_writes(child, frame(id=7, method="sampling/createMessage", params={})))
    assert refusal.error
    assert [message.method for message in written(work(bridge, "y", SAMPLING), child)] == ["tools/call"]


@pytest.mark.parametrize("meta", [{}, SAMPLING], ids=["shared", "exclusive"])
@pytest.mark.parametrize("id", [None, "", 7])
def test_an_answer_without_a_usable_id_ends_the_only_call_of_its_process(id: Any, meta: dict[str, Any]) -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    work(bridge, "x", meta)
    child, _ = initialize(bridge)
    bridge.server_writes(child, frame(id=id, error={"code": -32603, "message": "no"}))
    assert [(answer.exchange, body(answer)["error"]["message"]) for answer in bridge.posted(*ENDS)] == [("x", "no")]


def test_answers_of_a_few_ended_calls_are_kept_for_requests_that_are_sent_twice() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    child, first = parked(bridge)
    newest = first
    for number in range(REPLAYED + 1):
        if number:
            newest = parked(bridge, f"x{number}", child)[1]
        retry(bridge, f"retry{number}", newest)
        bridge.server_writes(child, result(f"x{number}" if number else "x", content=[]))
    for state, field in ((newest, "result"), (first, "error")):
        retry(bridge, f"again-{field}", state)
        assert field in body(bridge.posted(*ENDS)[-1])


def test_the_cancel_of_one_of_two_equal_retries_leaves_the_other() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    child, state = parked(bridge)
    retry(bridge, "one", state)
    retry(bridge, "two", state)
    assert written(bridge.send(Kind.CANCEL, exchange="one", attempt=1)) == []
    bridge.server_writes(child, result("x", content=[]))
    assert bridge.posted(*ENDS)[-1].exchange == "two"
    child, state = parked(bridge, "y", child)
    retry(bridge, "three", state)
    [cancel] = written(bridge.send(Kind.CANCEL, exchange="three", attempt=1))
    assert jsonrpc.refers_to(cancel) == b'"y"'


@pytest.mark.parametrize("opens", [False, True])
@pytest.mark.parametrize("answers", [False, True])
def test_the_call_that_has_been_parked_longest_gives_way_where_no_other_process_is_left(opens: bool, answers: bool) -> None:
    bridge = DrivenBridge(LEGACY, warm=0, max_processes=2)
    first, state = parked(bridge, "first")
    bridge.pass_time(5.0)
    work(bridge, "second", SAMPLING)
    second, _ = initialize(bridge)
    bridge.server_writes(second, frame(id=7, method="sampling/createMessage", params={}))

    def attempt(exchange: str) -> list[Effect]:
        if not opens:
            return work(bridge, exchange)
        opening = frame(id=exchange, method="initialize", params={})
        effects = bridge.work(exchange, kind=Kind.OPEN, repeatable=False, body=opening)
        return effects + bridge.send(Kind.GRANT, exchange=exchange, attempt=1)

    bridge.pass_time(INPUT_IN_LEAST - 6.0)
    assert attempt("early") == []
    bridge.pass_time(1.0)
    messages = written(attempt("x"), first)
    assert b"no input within 30 s" in bytes(messages[0].error)
    assert messages[1].method == "notifications/cancelled"
    bridge.pass_time(1.0)
    assert attempt("x2") == []  # one call makes room at a time
    if answers:
        bridge.server_writes(first, result("first", content=[]))
    else:
        assert stopped(bridge.pass_time(GRACE)) == [first]
    bridge.posted()
    attempt("x3")
    assert bridge.posted(Kind.RETURNED) == []
    assert len(bridge.core.pools["s"].children) == 2
    assert second in bridge.core.pools["s"].children
    retry(bridge, "late", state)
    assert bridge.posted(*ENDS)[-1].exchange == "late"


def test_a_process_that_may_still_run_a_call_whose_answer_is_lost_gets_no_other() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    work(bridge, "x", SAMPLING)
    child, _ = initialize(bridge)
    [cancel] = written(loses(bridge, child, "x"))
    assert (cancel.method, jsonrpc.refers_to(cancel)) == ("notifications/cancelled", b'"x"')
    assert written(work(bridge, "y", SAMPLING), child) == []
    bridge.posted()
    [refusal] = written(bridge.server_writes(child, frame(id=7, method="sampling/createMessage", params={})))
    assert refusal.error
    assert bridge.posted(*ENDS) == []
    assert child in stopped(bridge.pass_time(GRACE + 1.0))


def test_a_call_that_never_reached_its_process_leaves_it_free() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    work(bridge, "x", SAMPLING)
    child, _ = initialize(bridge)
    assert written(loses(bridge, child, "x", sent=False)) == []
    assert [message.method for message in written(work(bridge, "y", SAMPLING), child)] == ["tools/call"]


def test_a_lost_answer_ends_equal_retries_alike() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    child, state = parked(bridge)
    retry(bridge, "one", state)
    retry(bridge, "two", state)
    loses(bridge, child, "x")
    ends = bridge.posted(*ENDS)
    assert [each.exchange for each in ends] == ["one", "two"]
    assert {body(each)["error"]["data"]["reason"] for each in ends} == {"outcome_unknown"}


def test_a_process_whose_parked_call_loses_its_answer_gets_no_other_call() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    child, state = parked(bridge)
    assert "notifications/cancelled" in [message.method for message in written(loses(bridge, child, "x"))]
    assert written(work(bridge, "y", SAMPLING), child) == []
    retry(bridge, "x2", state)
    assert "the stream broke" in body(bridge.posted(*ENDS)[-1])["error"]["message"]


# ---------------------------------------------------------------- ends
def test_a_process_that_does_not_answer_a_cancelled_call_is_stopped() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    child, _ = parked(bridge)
    assert stopped(bridge.pass_time(INPUT_IN + 1.0)) == []
    assert child in stopped(bridge.pass_time(GRACE + 1.0))


@pytest.mark.parametrize("warm", [0, 1])
def test_a_shared_process_that_hangs_fails_its_checks_and_is_replaced(warm: int) -> None:
    bridge = DrivenBridge(LEGACY, warm=warm, checks=Checks(patience=100.0))
    work(bridge, "x")
    child = bridge.core.pools["s"].initialized.children[0].id
    [asked] = written(bridge.server_starts(child), child)
    bridge.server_writes(child, result(jsonrpc.text(asked.id), **INITIALIZED))
    effects = bridge.pass_time(100.0)
    assert {message.method for message in written(effects, child)} == {"ping"}
    assert bridge.posted(*ENDS) == []  # a busy process may answer late
    assert child in stopped(bridge.pass_time(100.0))
    assert [(each.kind, each.exchange) for each in bridge.posted(*ENDS)] == [(Kind.RETURNED, "x")]


def test_a_shared_process_that_answers_its_checks_stays() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    work(bridge, "x")
    child, _ = initialize(bridge)
    for _ in range(10):
        for asked in written(bridge.pass_time(33.0), child):
            assert stopped(bridge.server_writes(child, result(jsonrpc.text(asked.id)))) == []
    assert bridge.core.pools["s"].condition.health is Health.HEALTHY


def test_an_idle_process_is_stopped_after_a_while() -> None:
    bridge = DrivenBridge(LEGACY, warm=0)
    work(bridge, "x")
    child, _ = initialize(bridge)
    assert child not in stopped(bridge.pass_time(IDLE + 2.0))  # it runs the call
    bridge.server_writes(child, result("x"))
    assert child in stopped(bridge.pass_time(IDLE + 2.0))

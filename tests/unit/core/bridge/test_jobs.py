"""Jobs: each holds its slot while it lasts, runs in its turn, and ends with exactly one message to its edge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fabric.core import request_state
from fabric.core.bridge.job import Job, job_of
from fabric.core.bridge.jobs import TAKEN_AFTER
from fabric.core.bridge.speaking.modern import INPUT_IN
from fabric.core.effects import Ack, Completed, Effect, Nack
from fabric.envelope import Envelope, Kind
from tests.unit.core.bridge.driven_bridge import LEGACY, DrivenBridge, frame, notification, result, written

ENDS = (Kind.ANSWER, Kind.RETURNED)


def slots(bridge: DrivenBridge) -> tuple[int, int]:
    """How many slots are taken, and how many bytes in them are unwritten."""
    held = bridge.core.pools["s"].slots
    return held.taken, held.unwritten_bytes


def fault(envelope: Envelope) -> tuple[str, bool]:
    """The reason of a fabric error, and whether it is retryable."""
    data = msgspec.json.decode(envelope.body)["error"]["data"]
    return data["reason"], data["retryable"]


def of(kind: type[Effect], effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, kind)]


# ---------------------------------------------------------------- slots and deliveries
def test_a_job_holds_a_slot_until_it_is_answered_and_bytes_until_they_are_written() -> None:
    bridge = DrivenBridge()
    bridge.work("granted", repeatable=False, body=b"x" * 100)
    assert slots(bridge) == (1, 100)
    bridge.send(Kind.GRANT, exchange="granted", attempt=1)
    assert slots(bridge) == (1, 0)
    bridge.server_writes(bridge.children[0], result("granted"))
    assert slots(bridge) == (0, 0)


def test_repeatable_work_is_written_at_once_and_other_work_when_it_is_granted() -> None:
    bridge = DrivenBridge()
    assert [message.id for message in written(bridge.work("read"))] == [b'"read"']
    assert written(bridge.work("write", repeatable=False)) == []
    for edge, attempt in (("other", 1), ("e", 2)):  # another edge, and another attempt
        assert written(bridge.send(Kind.GRANT, edge=edge, exchange="write", attempt=attempt)) == []
    assert [message.id for message in written(bridge.send(Kind.GRANT, exchange="write", attempt=1))] == [b'"write"']


def test_a_delivery_is_acked_when_the_edge_has_the_answer() -> None:
    bridge = DrivenBridge()
    bridge.work("x", delivery=7)
    assert of(Ack, bridge.server_writes(bridge.children[0], result("x"))) == []
    assert of(Ack, bridge.acknowledge()) == [Ack(7)]
    assert bridge.core.deliveries.answered == {}


def test_a_taken_message_for_repeatable_work_is_sent_only_when_it_takes_long() -> None:
    bridge = DrivenBridge()
    bridge.work("fast")
    bridge.server_writes(bridge.children[0], result("fast"))
    bridge.work("slow", delivery=7)
    bridge.pass_time(TAKEN_AFTER)
    assert [(each.kind, each.exchange) for each in bridge.posted(Kind.TAKEN, Kind.ANSWER)] == [
        (Kind.ANSWER, "fast"),
        (Kind.TAKEN, "slow"),
    ]
    assert of(Ack, bridge.acknowledge()) == [Ack(7)]


def test_a_second_copy_of_an_open_job_runs_nothing_and_is_acked_once_its_edge_knows_of_the_job() -> None:
    bridge = DrivenBridge()
    bridge.work("x", delivery=7)
    effects = bridge.work("x", delivery=8, attempt=2)
    assert (written(effects), slots(bridge)[0]) == ([], 1)
    assert [(each.kind, each.attempt) for each in bridge.posted(Kind.TAKEN)] == [(Kind.TAKEN, 1)]
    assert of(Ack, bridge.acknowledge()) == [Ack(7), Ack(8)]


def test_a_cancel_of_an_older_attempt_is_answered_with_the_newest_one() -> None:
    bridge = DrivenBridge()
    bridge.work("x")
    bridge.work("x", attempt=3)
    bridge.posted()
    bridge.send(Kind.CANCEL, exchange="x", attempt=2)
    assert [(each.kind, each.attempt) for each in bridge.posted(*ENDS)] == [(Kind.RETURNED, 3)]
    assert not bridge.core.jobs.open


@pytest.mark.parametrize(
    ("end", "settled"),
    [(DrivenBridge.edge_leaves, Ack(7)), (DrivenBridge.edge_gives_up, Nack(7))],
    ids=["it left", "it gave us up"],
)
def test_work_of_an_edge_that_left_is_acked_and_work_of_an_edge_that_gave_us_up_is_nacked(
    end: Callable[[DrivenBridge], list[Effect]], settled: Effect
) -> None:
    bridge = DrivenBridge()
    bridge.work("x", delivery=7)
    effects = end(bridge)
    assert [effect for effect in effects if isinstance(effect, Ack | Nack)] == [settled]
    assert [message.method for message in written(effects)] == ["notifications/cancelled"]
    assert not bridge.core.jobs.open


# ---------------------------------------------------------------- turns
def test_exclusive_jobs_run_one_by_one_and_a_job_cancelled_while_it_waits_never_runs() -> None:
    bridge = DrivenBridge()
    child = bridge.children[0]
    for exchange in ("first", "second", "third"):
        bridge.work(exchange, exclusive=True)
    assert [message.id for message in written(bridge.work("side by side"))] == [b'"side by side"']
    assert written(bridge.send(Kind.CANCEL, exchange="second", attempt=1)) == []
    assert [message.id for message in written(bridge.server_writes(child, result("first")))] == [b'"third"']
    bridge.server_writes(child, result("third"))
    assert [message.id for message in written(bridge.work("fourth", exclusive=True))] == [b'"fourth"']


def test_modern_work_waits_for_a_server_that_restarts() -> None:
    bridge = DrivenBridge()
    bridge.server_exits(bridge.children[0])
    assert written(bridge.work("x")) == []
    assert written(bridge.work("cancelled")) == []
    bridge.send(Kind.CANCEL, exchange="cancelled", attempt=1)
    bridge.pass_time(0.25)
    (probe,) = written(bridge.server_starts(bridge.children[1]))
    answer = b'{"jsonrpc":"2.0","id":' + probe.id + b',"result":{"supportedVersions":["2026-07-28"]}}'
    assert [message.id for message in written(bridge.server_writes(bridge.children[1], answer))] == [b'"x"']


# ---------------------------------------------------------------- ends
@pytest.mark.parametrize(
    ("repeatable", "unsent", "end"),
    [
        (True, False, (Kind.RETURNED, True, "killed")),
        (True, True, (Kind.RETURNED, False, "")),
        (False, True, (Kind.RETURNED, False, "")),
        (False, False, (Kind.ANSWER, "outcome_unknown", False)),
    ],
)
def test_a_job_whose_process_ends_is_returned_if_it_may_run_again(repeatable: bool, unsent: bool, end: Any) -> None:
    bridge = DrivenBridge()
    bridge.work("x", repeatable=repeatable)
    bridge.send(Kind.GRANT, exchange="x", attempt=1)
    bridge.server_exits(bridge.children[0], "killed", *(["x"] if unsent else []))
    (last,) = bridge.posted(*ENDS)
    if last.kind is Kind.RETURNED:
        assert (last.kind, last.repeatable, last.body.decode()) == end
    else:
        assert (last.kind, *fault(last)) == end
    assert slots(bridge) == (0, 0)


@pytest.mark.parametrize(
    ("repeatable", "started", "end"),
    [
        (True, True, ("session_lost", False)),
        (True, False, ("session_lost", True)),
        (False, False, ("session_lost", True)),
        (False, True, ("outcome_unknown", False)),
    ],
)
def test_a_job_of_a_session_whose_process_ends_never_runs_in_another(
    repeatable: bool, started: bool, end: tuple[str, bool]
) -> None:
    bridge = DrivenBridge(LEGACY)
    child = bridge.session()
    bridge.request("x", repeatable=repeatable)
    bridge.server_exits(child, "killed", *([] if started else ["x"]))
    assert [fault(each) for each in bridge.posted(*ENDS)] == [end]


def test_an_answer_too_large_for_the_broker_becomes_a_too_large_error() -> None:
    bridge = DrivenBridge(largest_message_bytes=4096)
    bridge.work("x")
    bridge.server_writes(bridge.children[0], result("x", text="x" * 4096))
    (answer,) = bridge.posted(*ENDS)
    assert fault(answer) == ("too_large", False)
    assert b"at most 3584 bytes pass this broker" in answer.body


def test_a_message_too_large_for_the_broker_is_dropped() -> None:
    bridge = DrivenBridge(largest_message_bytes=4096)
    bridge.work("x")
    for size in (4096, 1024):
        bridge.server_writes(bridge.children[0], notification("notifications/progress", progressToken="x", message="x" * size))
    (message,) = bridge.posted(Kind.MESSAGE)
    assert message.exchange == "x"
    assert len(message.body) < 2048


def test_a_cancelled_job_sends_its_clients_cancel_to_the_server_and_gets_no_answer() -> None:
    bridge = DrivenBridge()
    bridge.work("x", delivery=7)
    words = notification("notifications/cancelled", requestId="x", reason="enough")
    effects = bridge.send(Kind.CANCEL, exchange="x", attempt=1, body=words)
    assert [message.frame for message in written(effects)] == [words]
    assert of(Ack, effects) == [Ack(7)]
    bridge.server_writes(bridge.children[0], result("x"))
    assert bridge.posted(*ENDS) == []


def test_a_job_that_was_not_started_is_cancelled_without_a_message_to_its_server() -> None:
    bridge = DrivenBridge()
    bridge.work("x", repeatable=False)
    assert written(bridge.send(Kind.CANCEL, exchange="x", attempt=1)) == []
    assert written(bridge.send(Kind.GRANT, exchange="x", attempt=1)) == []


def test_a_frame_in_which_no_id_can_be_swapped_is_answered_with_an_error() -> None:
    bridge = DrivenBridge(LEGACY)
    bridge.session()
    bridge.client_sends(b"not JSON", "x")
    (answer,) = bridge.posted(*ENDS)
    assert (answer.exchange, fault(answer)) == ("x", ("invalid", False))


# ---------------------------------------------------------------- calls that wait for input
def asked_for_input(bridge: DrivenBridge) -> str:
    """Run a call that asks its client for input; returns the requestState that the client gets."""
    bridge.work("x")
    bridge.server_writes(bridge.children[0], result("x", resultType="input_required", requestState="own"))
    (answer,) = bridge.posted(*ENDS)
    return str(msgspec.json.decode(answer.body)["result"]["requestState"])


def retry(bridge: DrivenBridge, state: str) -> list[Effect]:
    body = frame(id="y", method="tools/call", params={"name": "t", "requestState": state})
    return bridge.send(Kind.REQUEST, exchange="y", server="s", attempt=1, body=body)


def test_a_retry_goes_to_the_process_that_asked_for_input_with_the_state_of_its_server() -> None:
    bridge = DrivenBridge()
    (asked,) = written(retry(bridge, asked_for_input(bridge)), bridge.children[0])
    assert msgspec.json.decode(asked.params)["requestState"] == "own"
    bridge.server_writes(bridge.children[0], result("y"))
    assert [answer.exchange for answer in bridge.posted(*ENDS)] == ["y"]


@pytest.mark.parametrize("state", ["own", request_state.wrap("b", "s#99", "own"), "mcpf1.b.99.s#1own"])
def test_a_retry_whose_process_is_not_here_has_an_unknown_outcome(state: str) -> None:
    bridge = DrivenBridge()
    asked_for_input(bridge)
    assert written(retry(bridge, state)) == []
    assert [fault(answer) for answer in bridge.posted(*ENDS)] == [("outcome_unknown", False)]


def test_a_retry_does_not_reach_the_process_of_another_clients_session() -> None:
    bridge = DrivenBridge(LEGACY)
    child = bridge.session()
    assert written(retry(bridge, request_state.wrap("b", child, "own"))) == []


def test_a_traced_retry_for_a_server_that_is_not_here_has_an_unknown_outcome() -> None:
    bridge = DrivenBridge()
    bridge.core.member.identity = msgspec.structs.replace(bridge.core.member.identity, spans=lambda parent: parent)
    body = frame(id="y", method="tools/call", params={"requestState": request_state.wrap("b", "s#1", "own")})
    effects = bridge.send(Kind.REQUEST, exchange="y", server="other", attempt=1, body=body, trace="00-aa-bb-01")
    assert [fault(answer) for answer in bridge.posted(*ENDS)] == [("outcome_unknown", False)]
    assert [(end.record.server, end.record.transport) for end in effects if isinstance(end, Completed)] == [("other", "")]


def test_a_replaced_process_takes_retries_as_long_as_clients_may_give_input() -> None:
    bridge = DrivenBridge()
    state = asked_for_input(bridge)
    bridge.core.server_events.renew(bridge.core.pools["s"], "restart", bridge.now)
    bridge.pass_time(0.25)
    (probe,) = written(bridge.server_starts(bridge.children[1]))
    bridge.server_writes(
        bridge.children[1], b'{"jsonrpc":"2.0","id":' + probe.id + b',"result":{"supportedVersions":["2026-07-28"]}}'
    )
    assert [message.id for message in written(retry(bridge, state), bridge.children[0])] == [b'"y"']
    bridge.server_writes(bridge.children[0], result("y"))
    bridge.pass_time(INPUT_IN)
    bridge.posted()
    retry(bridge, state)
    assert [fault(answer) for answer in bridge.posted(*ENDS)] == [("outcome_unknown", False)]


def test_a_job_has_the_fields_of_its_envelope() -> None:
    asked = Envelope(kind=Kind.OPEN, exchange="x", server="s", attempt=3, bound=True, principal="p", body=b"{}")
    job = job_of("e", asked, 7, 2.0, queued=True)
    assert isinstance(job, Job)
    assert (job.edge, job.arrived, job.attempt, job.newest, job.delivery, job.queued) == ("e", 2.0, 3, 3, 7, True)
    assert (job.kind, job.server, job.bound, job.principal, job.body) == (Kind.OPEN, "s", True, "p", b"{}")
    assert (job.child, job.started, job.stream, job.siblings) == ("", False, None, None)


# ---------------------------------------------------------------- counts
def test_each_job_is_counted_once_by_how_it_has_ended() -> None:
    bridge = DrivenBridge()
    child = bridge.children[0]
    for exchange in ("answered", "refused", "cancelled"):
        bridge.work(exchange)
    bridge.server_writes(child, result("answered"))
    bridge.server_writes(child, frame(id="refused", error={"code": -32602, "message": "no"}))
    bridge.send(Kind.CANCEL, exchange="cancelled", attempt=1)
    bridge.work("died")
    bridge.work("called", repeatable=False)
    bridge.send(Kind.GRANT, exchange="called", attempt=1)
    bridge.server_exits(child)
    ends = ("ok", "error", "cancelled", "returned", "outcome_unknown")
    assert bridge.core.snapshot(bridge.now).finished == {("s", end): 1 for end in ends}


def test_a_request_for_a_session_that_is_gone_is_counted_though_it_was_never_open() -> None:
    bridge = DrivenBridge(LEGACY)
    bridge.request("x", session="gone")
    assert bridge.core.snapshot(bridge.now).finished == {("s", "session_lost"): 1}


def test_a_session_that_a_server_refuses_to_open_counts_as_its_error() -> None:
    bridge = DrivenBridge(LEGACY)
    bridge.initialize("session")
    child = bridge.core.sessions.open["session"].child
    bridge.server_starts(child)
    bridge.server_writes(child, frame(id="session", error={"code": -32602, "message": "no"}))
    assert bridge.core.snapshot(bridge.now).finished == {("s", "error"): 1}

"""Stray answers, which have no id of an open request: which request they answer, and when that cannot be known."""

from __future__ import annotations

import pytest

from fabric.core.bridge.job import job_of
from fabric.core.bridge.processes.child import Child
from fabric.core.bridge.strays import adopted
from fabric.envelope import Envelope, Kind
from fabric.faults import Fault, LostAnswer, Reason, lost_answer
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message

OURS, OTHER = "0123456789abcdef-1f-00aa00bb", "fedcba9876543210-2-11cc11dd"
BROKEN = Fault(Reason.INVALID, "not JSON")


def child(*open: str, open_at_notification: frozenset[str] | None = None) -> Child:
    process = Child("s", "s#1", "0123456789abcdef", 0.0)
    for exchange in open:
        process.jobs[exchange] = job_of("e", Envelope(kind=Kind.REQUEST, exchange=exchange), 0, 0.0, queued=False)
    process.open_at_notification = open_at_notification
    return process


def error(code: int, id: str = "null") -> Message:
    return jsonrpc.parse(f'{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"no"}}}}'.encode())


def result(id: str, what: str = '{"content":[]}') -> Message:
    named = f'"id":{id},' if id else ""
    return jsonrpc.parse(f'{{"jsonrpc":"2.0",{named}"result":{what}}}'.encode())


@pytest.mark.parametrize("id", ["null", "0", '"nobody"', f'"{OURS}x"', f'"{OURS.upper()}"'])
@pytest.mark.parametrize("code", [-32600, -32601, -32603])
def test_an_error_without_a_known_id_goes_to_the_only_open_request(code: int, id: str) -> None:
    answer = adopted(child(OURS), error(code, id), "s")
    assert answer is not None
    assert (jsonrpc.text(answer.id), bytes(answer.error)) == (OURS, bytes(error(code).error))


@pytest.mark.parametrize(
    ("id", "named"),
    [("null", "the id null"), ("", "no id"), ("0", "the id 0"), (f'"{OURS}x"', f'the id "{OURS}x"')],
)
def test_a_result_without_a_known_id_becomes_an_error_that_gives_the_reason(id: str, named: str) -> None:
    answer = adopted(child(OURS), result(id), "s")
    assert isinstance(answer, LostAnswer)
    assert (jsonrpc.text(answer.id), answer.fault.reason, answer.again) == (OURS, Reason.INVALID, False)
    assert answer.fault.message == f"s sent an answer that cannot be passed on: it has {named}, not that of the request"


@pytest.mark.parametrize("stray", [error(-32600), result("null"), lost_answer(b"", BROKEN, started=True, again=False)])
def test_a_stray_answer_is_dropped_when_no_request_or_several_are_open(stray: Message) -> None:
    for open in ((), (OURS, OTHER)):
        assert adopted(child(*open), stray, "s") is None


@pytest.mark.parametrize("named", [OTHER, "check-7", "own-7", "probe initialize"])
def test_a_late_or_second_answer_to_another_request_does_not_answer_the_open_one(named: str) -> None:
    for stray in (
        result(f'"{named}"'),
        error(-32600, f'"{named}"'),
        lost_answer(jsonrpc.quoted(named), BROKEN, started=True, again=False),
    ):
        assert adopted(child(OURS), stray, "s") is None


@pytest.mark.parametrize(
    (
        "stray",
        "older",
        "newer",
    ),  # whether it answers a request older or newer than the last notification
    [
        (error(-32601), False, False),  # some servers reply so to a notification
        (error(-32600), False, True),
        (error(-32700), True, True),  # our notifications are valid JSON
        (result("null", "{}"), False, False),
        (result("null", "null"), False, False),
        (result(""), True, True),
    ],
)
def test_an_answer_that_may_be_to_a_notification_does_not_answer_the_request(stray: Message, older: bool, newer: bool) -> None:
    assert (adopted(child(OURS, open_at_notification=frozenset({OURS})), stray, "s") is not None) == older
    assert (adopted(child(OURS, open_at_notification=frozenset()), stray, "s") is not None) == newer

"""The Speaker of a process that modern clients share: it finds the client of each message, and the process of each retry."""

import pytest

from fabric.core import request_state
from fabric.core.bridge.job import Job, job_of
from fabric.core.bridge.speaking import choice
from fabric.core.bridge.speaking.base import Answer, ServerMessage, Speaker
from fabric.core.bridge.speaking.legacy import Legacy
from fabric.core.bridge.speaking.legacy_clients.legacy_on_modern import LegacyOnModern
from fabric.core.bridge.speaking.legacy_clients.undecided import Undecided
from fabric.core.bridge.speaking.modern import INPUT_IN, Modern
from fabric.core.bridge.speaking.turns import QUIET_AFTER_CANCEL, Turns
from fabric.envelope import Envelope, Kind
from fabric.errors import InvalidFrame
from fabric.mcp import jsonrpc
from fabric.mcp.eras import LEGACY, MODERN
from fabric.mcp.jsonrpc import Message

LOG = jsonrpc.parse(b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}')


def job(exchange: str) -> Job:
    return job_of("edge", Envelope(kind=Kind.REQUEST, exchange=exchange, exclusive=True), 0, 0.0, queued=True)


def speaker(*jobs: Job) -> Modern:
    return Modern("b", "s#1", {job.exchange: job for job in jobs})


def parsed(text: str) -> Message:
    return jsonrpc.parse(text.encode())


@pytest.mark.parametrize(
    "params",
    [
        '{"progressToken":"a","progress":1}',
        '{"_meta":{"io.modelcontextprotocol/subscriptionId":"a"}}',
    ],
)
def test_a_notification_goes_to_the_client_whose_request_it_names(params: str) -> None:
    first, second = job("a"), job("b")
    message = parsed(f'{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}')
    assert speaker(first, second).hear(message, None, 0.0) == (ServerMessage(message, message.frame, first),)
    assert speaker(second).hear(message, None, 0.0) == ()


def test_a_notification_that_names_no_request_is_dropped() -> None:
    changed = parsed('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
    modern, running = speaker(job("a")), job("b")
    modern.turns.enter(running)
    assert modern.hear(changed, None, 0.0) == ()


def test_logs_go_to_the_exclusive_job_and_are_dropped_for_a_while_after_its_cancel() -> None:
    modern, running, following = speaker(), job("a"), job("b")
    assert modern.hear(LOG, None, 0.0) == ()
    modern.turns.enter(running)
    assert modern.hear(LOG, None, 1.0) == (ServerMessage(LOG, LOG.frame, running),)
    assert len(modern.cancel(running, b"", 2.0)) == 1
    modern.turns.leave(running)
    modern.turns.enter(following)
    assert modern.hear(LOG, None, 2.0) == ()
    assert modern.hear(LOG, None, 2.0 + QUIET_AFTER_CANCEL) == (ServerMessage(LOG, LOG.frame, following),)


def test_the_cancel_of_another_request_silences_no_logs() -> None:
    modern, running = speaker(), job("a")
    modern.turns.enter(running)
    modern.cancel(job("b"), b"", 2.0)
    assert modern.hear(LOG, None, 2.0) == (ServerMessage(LOG, LOG.frame, running),)


def test_a_server_request_of_a_shared_process_is_refused_by_the_bridge() -> None:
    (reply,) = speaker().hear(parsed('{"jsonrpc":"2.0","id":7,"method":"roots/list"}'), None, 0.0)
    assert isinstance(reply, bytes)
    refusal = jsonrpc.parse(reply)
    assert refusal.id == b"7"
    assert b"roots/list is not a request this client takes" in bytes(refusal.error)


def test_a_call_that_asks_for_input_names_this_process_and_its_retry_gets_the_servers_own_state() -> None:
    modern, asking = speaker(), job("a")
    own = '{"resultType":"input_required","requestState":"own"}'
    (passed_on,) = modern.hear(parsed(f'{{"jsonrpc":"2.0","id":"a","result":{own}}}'), asking, 5.0)
    assert isinstance(passed_on, Answer)
    state = jsonrpc.text(jsonrpc.request_state(passed_on.frame))
    assert request_state.unwrap(state) == ("b", "s#1", "own")
    assert modern.awaits_input_until == 5.0 + INPUT_IN
    retry = f'{{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{{"requestState":"{state}"}}}}'.encode()
    assert jsonrpc.text(jsonrpc.request_state(modern.resume(retry, "own"))) == "own"


@pytest.mark.parametrize("result", ['{"resultType":"input_required"}', '{"text":"\\"input_required\\""}'])
def test_an_answer_without_a_state_passes_unchanged(result: str) -> None:
    modern, asking = speaker(), job("a")
    answer = parsed(f'{{"jsonrpc":"2.0","id":"a","result":{result}}}')
    assert modern.hear(answer, asking, 5.0) == (Answer(asking, answer.frame),)
    assert modern.awaits_input_until == 0.0


def test_an_answer_whose_state_cannot_be_replaced_is_refused() -> None:
    answer = parsed('{"jsonrpc":"2.0","id":"a","result":{"resultType":"input_required","request\\u0053tate":"own"}}')
    with pytest.raises(InvalidFrame):
        speaker().hear(answer, job("a"), 5.0)


def test_exclusive_jobs_run_one_at_a_time_in_the_order_they_came() -> None:
    turns = Turns()
    first, second, third, fourth = (job(name) for name in "abcd")
    assert [turns.enter(each) for each in (first, second, third, fourth)] == [True, False, False, False]
    assert turns.leave(third) is None  # it waits no more
    assert turns.leave(first) is second
    assert turns.enter(second)
    assert turns.dismiss() == [fourth]
    assert turns.leave(second) is None
    assert turns.enter(fourth)


def test_a_process_of_unknown_era_reaches_no_client() -> None:
    unknown = Speaker("b", "s#1", {})
    assert unknown.hear(LOG, None, 0.0) == ()
    (reply,) = unknown.hear(parsed('{"jsonrpc":"2.0","id":7,"method":"ping"}'), None, 0.0)
    assert isinstance(reply, bytes)


def test_modern_clients_share_a_process_of_a_modern_server_and_each_session_has_its_own() -> None:
    assert choice.for_modern_clients((MODERN,)) is choice.for_modern_clients((MODERN, LEGACY)) is Modern
    assert choice.for_modern_clients((LEGACY,)) is choice.for_modern_clients(()) is None
    for spoken in ((LEGACY,), (MODERN, LEGACY)):
        assert choice.for_legacy_session(spoken, refused=False) is Legacy
    assert choice.for_legacy_session((MODERN,), refused=False) is Undecided
    assert choice.for_legacy_session((MODERN,), refused=True) is LegacyOnModern

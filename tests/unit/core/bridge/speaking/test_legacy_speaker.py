"""The Speaker of a legacy session: it gives server requests distinct ids, and passes all other messages unchanged."""

import pytest

from fabric.core.bridge.job import Job, job_of
from fabric.core.bridge.speaking.base import Answer, ServerMessage
from fabric.core.bridge.speaking.legacy import OPEN_REQUESTS, Legacy
from fabric.envelope import Envelope, Kind
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message


def job(exchange: str, *, kind: Kind = Kind.REQUEST) -> Job:
    return job_of("edge", Envelope(kind=kind, exchange=exchange), 0, 0.0, queued=False)


def speaker() -> Legacy:
    return Legacy("b", "s#1", {})


def parsed(text: str) -> Message:
    return jsonrpc.parse(text.encode())


def sent(speaker: Legacy, message: Message) -> Message:
    """A message of the server, as its client gets it."""
    (passed_on,) = speaker.hear(message, None, 0.0)
    assert isinstance(passed_on, ServerMessage)
    assert (passed_on.message, passed_on.job) == (message, None)
    return jsonrpc.parse(passed_on.frame)


def response(id: bytes) -> Message:
    return jsonrpc.parse(b'{"jsonrpc":"2.0","id":' + id + b',"result":{}}')


def test_the_ids_of_server_requests_come_back_unchanged_in_the_answers() -> None:
    legacy = speaker()
    for own in (b"0", b'"0"', b'"a\\"b"', b"-7"):
        asked = sent(legacy, jsonrpc.parse(b'{"jsonrpc":"2.0","id":' + own + b',"method":"ping"}'))
        (back,) = legacy.tell(response(asked.id))
        assert isinstance(back, bytes)
        assert jsonrpc.parse(back).id == own
        assert legacy.tell(response(asked.id)) == ()  # it is answered once


@pytest.mark.parametrize("id", [b"7", b'"e0-9"', b'"x"'])
def test_a_response_to_no_server_request_is_dropped(id: bytes) -> None:
    assert speaker().tell(response(id)) == ()


def test_the_oldest_of_too_many_open_server_requests_is_forgotten() -> None:
    legacy = speaker()
    ids = [sent(legacy, request(number)).id for number in range(OPEN_REQUESTS + 1)]
    assert legacy.tell(response(ids[0])) == ()
    assert [len(legacy.tell(response(id))) for id in ids[1:]] == [1] * OPEN_REQUESTS


def request(number: int) -> Message:
    return parsed(f'{{"jsonrpc":"2.0","id":{number},"method":"roots/list"}}')


def test_a_servers_cancel_names_its_request_by_the_id_that_the_client_has() -> None:
    legacy = speaker()
    minted = sent(legacy, parsed('{"jsonrpc":"2.0","id":3,"method":"ping"}')).id
    cancel = parsed('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}')
    assert jsonrpc.refers_to(sent(legacy, cancel)) == minted
    assert legacy.tell(response(minted)) == ()  # the server does not wait for it any more


def test_a_servers_cancel_of_an_unknown_request_passes_unchanged() -> None:
    cancel = parsed('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}')
    assert sent(speaker(), cancel).frame == cancel.frame


def test_requests_answers_and_notifications_pass_byte_for_byte() -> None:
    legacy, asked = speaker(), job("x")
    assert legacy.ask(asked, b'{ "id":"x" }') == (b'{ "id":"x" }',)
    answer = parsed('{ "jsonrpc":"2.0","id":"x","result":{"note":"\\"input_required\\""} }')
    assert legacy.hear(answer, asked, 0.0) == (Answer(asked, answer.frame),)
    notification = parsed('{ "jsonrpc":"2.0","method":"notifications/roots/list_changed" }')
    assert legacy.tell(notification) == (notification.frame,)
    assert sent(legacy, notification).frame == notification.frame


def test_a_request_is_cancelled_with_its_clients_frame_or_our_own_and_an_initialize_is_not_cancelled() -> None:
    legacy = speaker()
    assert legacy.cancel(job("x"), b"its client's", 0.0) == (b"its client's",)
    (own,) = legacy.cancel(job("x"), b"", 0.0)
    assert isinstance(own, bytes)
    assert jsonrpc.parse(own).method == "notifications/cancelled"
    assert jsonrpc.refers_to(jsonrpc.parse(own)) == b'"x"'
    assert legacy.cancel(job("x", kind=Kind.OPEN), b"", 0.0) == ()

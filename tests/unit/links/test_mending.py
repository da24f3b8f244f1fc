"""Lines of a server that are no message: the messages in them are read, and the requests that they answer fail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fabric.errors import InvalidFrame
from fabric.faults import LostAnswer, Reason
from fabric.links.mending import Mender, mended, too_long
from fabric.mcp.jsonrpc import parse

ANSWER = b'{"jsonrpc":"2.0","id":"b-1","result":{"text":"done"}}'
LAST_ID = b'{"result":{"structuredContent":{"id":"b-9"}},"jsonrpc":"2.0","id":"b-1"}'
PROGRESS = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"b-1"}}'
ECHO = b'{"jsonrpc":"2.0","id":"b-1","method":"tools/call","params":{"name":"x"}}'
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'


def read(line: bytes) -> list[bytes]:
    """The frames in a line that is no message as a whole."""
    with pytest.raises(InvalidFrame):
        parse(line)
    messages = mended(line, "server")
    assert not [each for each in messages if isinstance(each, LostAnswer)]
    return [each.frame for each in messages]


def broken_answer(line: bytes) -> tuple[bytes, str] | None:
    """The id of the request that a broken line answers, and the reason given to it; None where the line answers none."""
    with pytest.raises(InvalidFrame):
        parse(line)
    messages = mended(line, "server")
    if not messages:
        return None
    (only,) = messages
    assert isinstance(only, LostAnswer)
    assert (only.fault.reason, only.started, only.again, only.server_answered) == (Reason.INVALID, True, False, True)
    before = "server sent an answer that cannot be passed on: "
    assert only.fault.message.startswith(before)
    return only.id, only.fault.message[len(before) :]


@pytest.mark.parametrize(
    "line",
    [
        b"INFO: answering " + ANSWER,
        b"\0\0" + ANSWER,
        b"\x1b[32mINFO\x1b[0m " + ANSWER,
        b"INFO {} {'a': 1} [x] " + ANSWER,
        b'INFO {"level": "info"}' + ANSWER,
        ANSWER + b" # took 3 ms",
        b"data: " + ANSWER,
        b"\x1e" + ANSWER,
        b"INFO: answering " + LAST_ID,
    ],
)
def test_text_around_a_message_on_its_line_is_ignored(line: bytes) -> None:
    assert read(line) == [LAST_ID if LAST_ID in line else ANSWER]


def test_several_messages_on_one_line_are_read_in_order() -> None:
    assert read(ANSWER + PROGRESS + b" " + ANSWER) == [ANSWER, PROGRESS, ANSWER]
    assert read(b"\xef\xbb\xbf" + PROGRESS + ECHO) == [PROGRESS, ECHO]
    assert read(b"log: " + PROGRESS) == [PROGRESS]


@pytest.mark.parametrize("line", [b"received " + ECHO, b"DEBUG: " + INITIALIZED, b"> " + ECHO + b" " + INITIALIZED])
def test_a_logged_copy_of_a_received_message_is_not_a_message_of_the_server(line: bytes) -> None:
    assert read(line) == []


def test_one_byte_order_mark_before_a_message_is_ignored() -> None:
    for frame in (ANSWER, PROGRESS, ECHO, b"[" + ECHO + b"]"):
        seen = parse(b"\xef\xbb\xbf" + frame)
        assert (seen.frame, seen.kind) == (frame, parse(frame).kind)
    with pytest.raises(InvalidFrame):
        parse(b"\xef\xbb\xbf" * 1_000_000 + ANSWER)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (ANSWER.replace(b'"done"', b"NaN"), "not JSON: it holds NaN"),
        (ANSWER.replace(b'"done"', b"[1, -Infinity]"), "not JSON: it holds -Infinity"),
        (LAST_ID.replace(b'"b-9"', b"NaN"), "not JSON: it holds NaN"),
        (b"INFO " + ANSWER.replace(b'"done"', b"NaN"), "not JSON: it holds NaN"),
        (ANSWER.replace(b"done", b"caf\xe9"), "not JSON: not UTF-8, by its byte 0xe9 at 49"),
        (ANSWER.replace(b"done", b"a\tb"), "not JSON: JSON is malformed: invalid character (byte 47)"),
        (ANSWER.replace(b'"jsonrpc":"2.0",', b""), 'not a JSON-RPC 2.0 message: "jsonrpc" is not "2.0"'),
        (ANSWER.replace(b'"2.0"', b"2.0"), "not a JSON-RPC message: Expected `str`, got `float` - at `$.jsonrpc`"),
        (b'{"jsonrpc":"2.0","id":"b-1"}', "a message has a method, a result or an error"),
        (ANSWER[:-5], "not JSON: Input data was truncated"),
        (ANSWER[:-2] + b",}}", "not JSON: JSON is malformed: trailing comma in object (byte 52)"),
        (LAST_ID.replace(b'"b-9"', b"undefined"), "not JSON: JSON is malformed: invalid character (byte 37)"),
        (ANSWER.decode().encode("utf-16"), "not JSON: it holds NUL bytes, as UTF-16 does; MCP is UTF-8"),
    ],
)  # fmt: skip
def test_a_broken_answer_fails_the_request_of_its_id_with_a_readable_reason(line: bytes, reason: str) -> None:
    assert broken_answer(line) == (b'"b-1"', reason)


def test_a_broken_answer_without_a_readable_id_fails_the_only_open_request() -> None:
    assert broken_answer(b'{"jsonrpc":"2.0","result":{"text":NaN}}') == (b"", "not JSON: it holds NaN")
    assert broken_answer(b'{"jsonrpc":"2.0","result":{"text":"' + b"x" * 2000) == (b"", "not JSON: Input data was truncated")
    for id in (b"true", b'["b-1"]', b"{}"):
        answer = b'{"jsonrpc":"2.0","id":' + id + b',"result":{}}'
        assert broken_answer(answer) == (b"", "its id is neither a string nor a number")


@pytest.mark.parametrize(
    "line",
    [
        b"rubbish", b"", b"\0", b"7", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"{" * 100_000, b'{"jsonrpc":"2.0"}',
        b'sent {"jsonrpc":"2.0","id":7,"result":{}}', b'{"id":7,"error":"slow"}',
        b'{"level":"error","id":"b-1","error":"slow"}', b'{"id":"b-1","method":"tools/call"}', b'{"id":"b-1","text":"begun"}',
        b"{'jsonrpc': '2.0', 'id': 'b-1', 'result': {}}", b'INFO sent {"jsonrpc":"2.0","id":"b-1","result":{"text":"do...',
        b'got {"id":"b-1","result":{}}', ECHO[:-3], ECHO.replace(b'"x"', b"NaN"),
    ],
)  # fmt: skip
def test_noise_fails_no_request_whatever_it_contains(line: bytes) -> None:
    assert broken_answer(line) is None


def over(*lines: bytes, limit: int = 1_000_000) -> list[Any]:
    """The messages and reasons that come of lines, each of which is no message."""
    mender, messages = Mender("server", limit), []
    for line in lines:
        messages += mender.take(line)
    return [each.fault.reason if isinstance(each, LostAnswer) else json.loads(each.frame) for each in messages]


def test_a_message_over_many_lines_is_joined() -> None:
    message = {"result": {"structuredContent": {"list": [1, {}], "id": "b-9"}}, "jsonrpc": "2.0", "id": "b-1"}
    lines = json.dumps(message, indent=2).encode().splitlines()
    assert over(*lines) == [message]
    assert over(b"starting", *lines, b"between", *lines, b"}") == [message, message]
    assert over(*json.dumps(message, indent=4).replace('"b-9"', "NaN").encode().splitlines()) == [Reason.INVALID]


def test_a_line_that_only_begins_like_a_message_delays_no_other_and_is_forgotten() -> None:
    broken = ANSWER.replace(b'"done"', b"NaN")
    assert over(b"{", b"noise", broken, b"}") == [Reason.INVALID]
    assert over(b"{", *[b"x" * 1000] * 10, ANSWER[1:], b"}", limit=5000) == []


def test_a_broken_long_frame_still_fails_the_request_of_its_id() -> None:
    long = ANSWER.replace(b"done", b"x" * 300_000)
    assert read(b"INFO: answering " + long) == [long]
    assert read(b"received " + ECHO.replace(b'"x"', b'"' + b"x" * 300_000 + b'"')) == []
    assert broken_answer(long.replace(b'"text"', b'"n":NaN,"text"')) == (
        b'"b-1"', "not JSON: JSON is malformed: invalid character (byte 42)"
    )  # fmt: skip
    assert broken_answer(b"x" * 300_000) is None
    pretty = json.dumps(json.loads(long), indent=2).encode().splitlines()
    assert over(*pretty) == [json.loads(long)]


def test_an_answer_over_the_limit_fails_the_request_that_its_beginning_names() -> None:
    heads = [ANSWER[:40], b'{"result":{"content":[', b'{"jsonrpc":"2.0","method":"x', b'{"jsonrpc":"2.0","id":"xxxxxx', b"xxxx"]
    ids = [too_long(head, "s", "over the limit").id for head in heads]
    assert ids[:2] == [b'"b-1"', b""]
    assert not [id for id in ids[2:] if id in (b"", b"null") or id.startswith(b'"')], "these are no ids of our requests"

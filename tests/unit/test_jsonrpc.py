"""The look at a frame: what it is, and swaps that touch nothing else, however the frame is written."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric import jsonrpc
from fabric.errors import InvalidFrame
from fabric.jsonrpc import MessageKind

keys = st.sampled_from(["id", "a", '"id":', "requestState"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
ids = st.integers(-(2**53), 2**53) | st.text(max_size=10)


@pytest.mark.parametrize(
    ("frame", "kind", "id"),
    [
        ('{"jsonrpc":"2.0","id":7,"method":"ping"}', MessageKind.REQUEST, b"7"),
        ('{"jsonrpc":"2.0","id":"7","method":"ping"}', MessageKind.REQUEST, b'"7"'),
        ('{ "method" : "x", "jsonrpc" : "2.0" }', MessageKind.NOTIFICATION, b""),
        ('{"jsonrpc":"2.0","id":0,"result":{}}', MessageKind.RESPONSE, b"0"),
        ('{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}', MessageKind.RESPONSE, b"null"),
    ],
)
def test_what_a_frame_is(frame: str, kind: MessageKind, id: bytes) -> None:
    message = jsonrpc.parse(frame.encode())
    assert (message.kind, message.id) == (kind, id)


@pytest.mark.parametrize(
    ("frame", "reason"), [(b" ", "not JSON: there is nothing"), (b"[" * 100_000, "nested too deeply"), (b"{" * 9, "not JSON: ")]
)
def test_why_a_frame_is_no_json_is_said_in_words_for_people(frame: bytes, reason: str) -> None:
    with pytest.raises(InvalidFrame, match=reason):
        jsonrpc.parse(frame)


@pytest.mark.parametrize(
    ("frame", "code", "id"),
    [
        (b"", jsonrpc.PARSE_ERROR, b"null"),
        (b"{", jsonrpc.PARSE_ERROR, b"null"),
        (b"\xff", jsonrpc.PARSE_ERROR, b"null"),
        (b"[]", jsonrpc.INVALID_REQUEST, b"null"),
        (b'{"jsonrpc":"1.0","id":3,"method":"x"}', jsonrpc.INVALID_REQUEST, b"3"),
        (b'{"jsonrpc":"2.0","id":3,"method":7}', jsonrpc.INVALID_REQUEST, b"3"),
        (b'{"jsonrpc":"2.0","id":null,"method":"x"}', jsonrpc.INVALID_REQUEST, b"null"),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"x"}', jsonrpc.INVALID_REQUEST, b"null"),
        (b'{"jsonrpc":"2.0","id":3}', jsonrpc.INVALID_REQUEST, b"3"),
    ],
)
def test_what_is_no_message_is_refused_with_the_code_and_id_to_answer(frame: bytes, code: int, id: bytes) -> None:
    with pytest.raises(InvalidFrame) as refused:
        jsonrpc.parse(frame)
    assert (refused.value.code, refused.value.id) == (code, id)


@given(ids, ids, values, st.permutations(["jsonrpc", "id", "method", "params"]), st.sampled_from([None, 1]))
def test_a_swapped_id_changes_nothing_else(old: Any, new: Any, params: Any, order: list[str], indent: int | None) -> None:
    parts = {"jsonrpc": "2.0", "id": old, "method": "x", "params": {"nested": params}}
    frame = json.dumps({key: parts[key] for key in order}, indent=indent).encode()
    swapped = jsonrpc.with_id(jsonrpc.parse(frame), json.dumps(new).encode())
    assert json.loads(swapped) == parts | {"id": new}


@given(ids, values)
def test_an_answer_gets_its_clients_own_id_back(id: Any, result: Any) -> None:
    frame = json.dumps({"jsonrpc": "2.0", "id": "e-1", "result": {"id": "e-1", "value": result}}).encode()
    back = json.loads(jsonrpc.with_answer_id(frame, "e-1", json.dumps(id).encode()))
    assert back == {"jsonrpc": "2.0", "id": id, "result": {"id": "e-1", "value": result}}


@given(ids, values)
def test_a_swapped_progress_token_is_the_requests_own(token: Any, arguments: Any) -> None:
    meta = {"progressToken": "old", "other": {"progressToken": "not this"}}
    parts = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"arguments": [arguments, meta], "_meta": meta}}
    swapped = json.loads(jsonrpc.with_progress_token(json.dumps(parts).encode(), json.dumps(token).encode()))
    assert swapped["params"]["_meta"] == meta | {"progressToken": token}
    assert swapped["params"]["arguments"] == [arguments, meta]


def test_a_swap_in_a_frame_of_a_thousand_lookalikes_is_quick_and_right() -> None:
    nested: Any = 0
    for _ in range(100):
        nested = {"requestState": "no", "deeper": [nested, {"requestState": "no"}]}
    parts = {"jsonrpc": "2.0", "id": 1, "method": "x", "params": {"arguments": nested, "requestState": "yes"}}
    swapped = json.loads(jsonrpc.with_request_state(json.dumps(parts).encode(), b'"new"'))
    assert swapped["params"]["requestState"] == "new"
    assert swapped["params"]["arguments"] == nested


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ('{"requestId":7}', b"7"),
        ('{"requestId":"7"}', b'"7"'),
        ('{"progressToken":0,"progress":1}', b"0"),
        ('{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}', b'"s"'),
        ("{}", b""),
        ("[]", b""),
    ],
)
def test_which_request_a_notification_names(params: str, named: bytes) -> None:
    message = jsonrpc.parse(f'{{"jsonrpc":"2.0","method":"n","params":{params}}}'.encode())
    assert jsonrpc.refers_to(message) == named
    if named:
        assert jsonrpc.refers_to(jsonrpc.parse(jsonrpc.with_reference(message.frame, b'"mine"'))) == b'"mine"'


@pytest.mark.parametrize(
    "params", ["", ',"params":{}', ',"params":{"_meta":{}}', ',"params":{"a":1,"_meta":{"traceparent":"old","b":2}}']
)
def test_a_traceparent_is_added_or_replaced(params: str) -> None:
    message = jsonrpc.parse(f'{{"jsonrpc":"2.0","id":1,"method":"x"{params}}}'.encode())
    before = json.loads(message.frame)
    after = json.loads(jsonrpc.with_traceparent(message, "00-a-b-01"))
    assert after["params"]["_meta"].pop("traceparent") == "00-a-b-01"
    before.setdefault("params", {}).setdefault("_meta", {}).pop("traceparent", None)
    assert after == before


@pytest.mark.parametrize("params", ["[]", '{"_meta":[]}', '{"_meta":7}'])
def test_metadata_that_is_no_object_is_refused_by_id(params: str) -> None:
    message = jsonrpc.parse(f'{{"jsonrpc":"2.0","id":5,"method":"x","params":{params}}}'.encode())
    with pytest.raises(InvalidFrame) as refused:
        jsonrpc.meta(message)
    assert refused.value.id == b"5"

"""Swaps of ids and tokens in a frame leave every other byte alone."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.mcp import jsonrpc, swap

keys = st.sampled_from(["id", "a", '"id":', "requestState"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
ids = st.integers(-(2**53), 2**53) | st.text(max_size=10)


@given(ids, ids, values, st.permutations(["jsonrpc", "id", "method", "params"]), st.sampled_from([None, 1]))
def test_a_swapped_id_changes_nothing_else(old: Any, new: Any, params: Any, order: list[str], indent: int | None) -> None:
    parts = {"jsonrpc": "2.0", "id": old, "method": "x", "params": {"nested": params}}
    frame = json.dumps({key: parts[key] for key in order}, indent=indent).encode()
    swapped = swap.with_id(jsonrpc.parse(frame), json.dumps(new).encode())
    assert json.loads(swapped) == parts | {"id": new}


@given(ids, values)
def test_an_answer_gets_the_id_of_its_client_back(id: Any, result: Any) -> None:
    frame = json.dumps({"jsonrpc": "2.0", "id": "e-1", "result": {"id": "e-1", "value": result}}).encode()
    back = json.loads(swap.with_answer_id(frame, "e-1", json.dumps(id).encode()))
    assert back == {"jsonrpc": "2.0", "id": id, "result": {"id": "e-1", "value": result}}


@given(ids, values)
def test_a_swapped_progress_token_is_the_requests_own(token: Any, arguments: Any) -> None:
    meta = {"progressToken": "old", "other": {"progressToken": "not this"}}
    parts = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"arguments": [arguments, meta], "_meta": meta}}
    swapped = json.loads(swap.with_progress_token(json.dumps(parts).encode(), json.dumps(token).encode()))
    assert swapped["params"]["_meta"] == meta | {"progressToken": token}
    assert swapped["params"]["arguments"] == [arguments, meta]


def test_a_swap_finds_the_right_member_among_a_hundred_nested_lookalikes() -> None:
    nested: Any = 0
    for _ in range(100):
        nested = {"requestState": "no", "deeper": [nested, {"requestState": "no"}]}
    parts = {"jsonrpc": "2.0", "id": 1, "method": "x", "params": {"arguments": nested, "requestState": "yes"}}
    swapped = json.loads(swap.with_request_state(json.dumps(parts).encode(), b'"new"'))
    assert swapped["params"]["requestState"] == "new"
    assert swapped["params"]["arguments"] == nested


@pytest.mark.parametrize(
    "params",
    [
        '{"requestId":7}',
        '{"requestId":"7"}',
        '{"progressToken":0,"progress":1}',
        '{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}',
    ],
)
def test_the_request_a_notification_names_is_replaced(params: str) -> None:
    frame = f'{{"jsonrpc":"2.0","method":"n","params":{params}}}'.encode()
    assert jsonrpc.refers_to(jsonrpc.parse(swap.with_reference(frame, b'"mine"'))) == b'"mine"'


@pytest.mark.parametrize(
    "params", ["", ',"params":{}', ',"params":{"_meta":{}}', ',"params":{"a":1,"_meta":{"traceparent":"old","b":2}}']
)
def test_a_traceparent_is_added_or_replaced(params: str) -> None:
    message = jsonrpc.parse(f'{{"jsonrpc":"2.0","id":1,"method":"x"{params}}}'.encode())
    before = json.loads(message.frame)
    after = json.loads(swap.with_traceparent(message, "00-a-b-01"))
    assert after["params"]["_meta"].pop("traceparent") == "00-a-b-01"
    before.setdefault("params", {}).setdefault("_meta", {}).pop("traceparent", None)
    assert after == before

"""The input that a modern server requires becomes requests for a legacy client, and its answers become the retry."""

import json
from typing import Any

import msgspec
import pytest

from fabric.errors import InvalidFrame
from fabric.mcp import jsonrpc
from fabric.mcp.across_eras import required_input
from fabric.mcp.across_eras.required_input import DISMISSED
from fabric.mcp.jsonrpc import Message


def response(**result: Any) -> Message:
    return jsonrpc.parse(json.dumps({"jsonrpc": "2.0", "id": "e", "result": result}).encode())


def test_each_input_is_a_request_with_the_bytes_of_its_params() -> None:
    frame = b'{"jsonrpc":"2.0","id":"e","result":{"resultType":"input_required","requestState":"s","inputRequests":' + (
        b'{"a":{"method":"sampling/createMessage","params":{"x":1.0}},"b":{"method":"roots/list"}}}}'
    )
    required = required_input.required(jsonrpc.parse(frame))
    assert required is not None
    assert bytes(required.state) == b'"s"'
    asked = [required_input.question(each, f"input-{n}", "2025-11-25") for n, each in enumerate(required.questions.values())]
    assert [message.frame for message in asked] == [
        b'{"jsonrpc":"2.0","id":"input-0","method":"sampling/createMessage","params":{"x":1.0}}',
        b'{"jsonrpc":"2.0","id":"input-1","method":"roots/list","params":{}}',
    ]


@pytest.mark.parametrize("result", [{"content": [{"text": '"input_required"'}]}, {"resultType": "complete"}, {}])
def test_any_other_result_requires_none(result: dict[str, Any]) -> None:
    assert required_input.required(response(**result)) is None


@pytest.mark.parametrize("result", [{}, {"inputRequests": {}}, {"inputRequests": [1]}, {"inputRequests": {"a": {}}}])
def test_input_that_cannot_be_read_is_refused(result: dict[str, Any]) -> None:
    with pytest.raises(InvalidFrame):
        required_input.required(response(resultType="input_required", **result))


def test_a_result_of_the_client_is_given_as_it_is() -> None:
    reply = jsonrpc.parse(b'{"jsonrpc":"2.0","id":"input-1","result":{"role": "x", "n":1.50}}')
    given = required_input.given(reply, "sampling/createMessage")
    assert given is not None
    assert bytes(given) == b'{"role": "x", "n":1.50}'


@pytest.mark.parametrize(
    ("method", "given"), [("elicitation/create", DISMISSED), ("sampling/createMessage", None), ("roots/list", None)]
)
def test_an_error_of_the_client_dismisses_a_form_and_ends_any_other_call(method: str, given: msgspec.Raw | None) -> None:
    reply = jsonrpc.parse(jsonrpc.error_frame(b'"input-1"', -1, "no"))
    assert required_input.given(reply, method) == given


def test_a_retry_bears_the_answers_and_the_state_where_there_are_any() -> None:
    answers = {"a": msgspec.Raw(b'{"x":1.0}')}
    assert {name: bytes(value) for name, value in required_input.retry(answers, msgspec.Raw(b'"s"')).items()} == {
        "inputResponses": b'{"a":{"x":1.0}}',
        "requestState": b'"s"',
    }
    assert required_input.retry({}, msgspec.Raw()) == {}

"""Which requests may be run again."""

from __future__ import annotations

import pytest

from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message
from fabric.mcp.repeatable import REPEATABLE_METHODS, may_run_again
from fabric.mcp.tools import Catalog


def request(method: str, params: str = '{"name":"t"}') -> Message:
    return jsonrpc.parse(f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}'.encode())


def catalog(annotations: str) -> Catalog:
    """The catalog of a server whose only tool is `t`."""
    listed = Catalog()
    tool = f'{{"name":"t","inputSchema":{{}},"annotations":{annotations}}}'
    listed.page(f'{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{tool}]}}}}'.encode(), 0.0)
    return listed


@pytest.mark.parametrize(
    "method", [*sorted(REPEATABLE_METHODS), "initialize", "logging/setLevel", "resources/subscribe", "x/new"]
)
def test_a_request_that_is_no_call_is_repeatable_by_its_method_alone(method: str) -> None:
    for retry_calls in (False, True):
        repeatable = may_run_again(request(method), "", None, retry_calls=retry_calls)
        assert repeatable is (method in REPEATABLE_METHODS)


@pytest.mark.parametrize(
    ("annotations", "repeatable"),
    [("{}", False), ('{"readOnlyHint":true}', True), ('{"idempotentHint":true}', True), ('{"destructiveHint":false}', False)],
)
def test_a_call_is_repeatable_if_its_tool_says_so(annotations: str, repeatable: bool) -> None:
    known = catalog(annotations)
    assert may_run_again(request("tools/call"), "t", known, retry_calls=False) is repeatable
    assert not may_run_again(request("tools/call"), "unknown", known, retry_calls=False)


def test_a_call_of_an_unknown_tool_is_repeatable_only_if_the_configuration_says_so() -> None:
    assert not may_run_again(request("tools/call"), "t", None, retry_calls=False)
    assert may_run_again(request("tools/call"), "t", None, retry_calls=True)


@pytest.mark.parametrize("params", ['{"name":"t","requestState":"s"}', '{"name":"t","inputResponses":{}}'])
@pytest.mark.parametrize("method", ["tools/call", "prompts/get"])
def test_a_retry_with_the_input_that_its_server_asked_for_is_never_repeatable(method: str, params: str) -> None:
    assert not may_run_again(request(method, params), "t", catalog('{"readOnlyHint":true}'), retry_calls=True)

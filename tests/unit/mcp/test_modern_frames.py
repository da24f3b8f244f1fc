"""Frames between a modern client and a legacy server: what each is spared, and what each gets in addition."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabric.mcp import jsonrpc, requests
from fabric.mcp.across_eras import discover, inputs, meta, results
from fabric.mcp.jsonrpc import Message
from fabric.mcp.members import joined, members

PREFIX = "io.modelcontextprotocol/"


def parsed(text: str) -> Message:
    return jsonrpc.parse(text.encode())


def decoded(frame: bytes) -> Any:
    return msgspec.json.decode(frame)


# ---------------------------------------------------------------- members
def test_members_keep_their_bytes_and_their_order() -> None:
    raw = b'{ "b" : 1.50, "a" : {"x" : [1, 2]}, "\\u00e9": "\\u00e9" }'
    assert joined(members(raw)) == '{"b":1.50,"a":{"x" : [1, 2]},"é":"\\u00e9"}'.encode()


@pytest.mark.parametrize("raw", [b"", b"null", b"[1]", b'"x"'])
def test_what_is_no_object_has_no_members(raw: bytes) -> None:
    assert members(raw) == {}


# ---------------------------------------------------------------- requests
def test_a_legacy_server_gets_a_request_without_what_describes_its_modern_client() -> None:
    described = requests.modern_meta({"name": "c"}, {"roots": {}}) | {f"{PREFIX}logLevel": "info", "progressToken": "x"}
    params = {"name": "t", "_meta": described, "requestState": "s", "inputResponses": {"a": {}}}
    message = jsonrpc.parse(msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}))
    assert decoded(meta.without_client(message, b'"x"')) == {
        "jsonrpc": "2.0",
        "id": "x",
        "method": "tools/call",
        "params": {"name": "t", "_meta": {"progressToken": "x"}},
    }


def test_a_meta_that_only_describes_the_client_goes_altogether() -> None:
    message = jsonrpc.parse(requests.list_tools("p", "next"))
    assert decoded(meta.without_client(message, message.id))["params"] == {"cursor": "next"}


# ---------------------------------------------------------------- results
def test_a_result_gets_what_the_modern_schema_requires() -> None:
    answer = parsed('{"jsonrpc":"2.0","id":7,"result":{"tools":[],"_meta":{"own":1}}}')
    assert decoded(results.modern(answer, b'"x"', "tools/list", b'{"name":"s"}')) == {
        "jsonrpc": "2.0",
        "id": "x",
        "result": {
            "resultType": "complete",
            "ttlMs": 0,
            "cacheScope": "private",
            "tools": [],
            "_meta": {f"{PREFIX}serverInfo": {"name": "s"}, "own": 1},
        },
    }


def test_only_results_that_may_be_cached_say_so() -> None:
    answer = parsed('{"jsonrpc":"2.0","id":7,"result":{"content":[]}}')
    assert decoded(results.modern(answer, b"1", "tools/call", b""))["result"] == {"resultType": "complete", "content": []}


def test_what_a_server_says_itself_is_not_replaced() -> None:
    answer = parsed('{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete","ttlMs":5,"cacheScope":"public","tools":[]}}')
    result = decoded(results.modern(answer, b"1", "tools/list", b""))["result"]
    assert (result["ttlMs"], result["cacheScope"]) == (5, "public")


@pytest.mark.parametrize(("before", "since"), [(-32002, -32602), (-32601, -32601), (-32042, -32042)])
def test_the_code_for_a_missing_resource_is_that_of_the_modern_revision(before: int, since: int) -> None:
    answer = parsed(f'{{"jsonrpc":"2.0","id":7,"error":{{"code":{before},"message":"no","data":{{"uri":"u"}}}}}}')
    error = decoded(results.modern(answer, b"1", "resources/read", b'{"name":"s"}'))["error"]
    assert error == {"code": since, "message": "no", "data": {"uri": "u"}}


# ---------------------------------------------------------------- discover
def test_discover_is_answered_from_the_answer_to_initialize() -> None:
    server = discover.initialized(
        b'{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},'
        b'"tasks":{},"x":{}},"serverInfo":{"name":"s","version":"1"},"instructions":"be kind"}}'
    )
    assert decoded(discover.discovered(server)) == {
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {"listChanged": True}, "x": {}},
        "instructions": "be kind",
        "_meta": {f"{PREFIX}serverInfo": {"name": "s", "version": "1"}},
    }


def test_a_server_that_says_nothing_of_itself_can_be_discovered() -> None:
    for answer in (b'{"jsonrpc":"2.0","id":1,"result":{}}', b'{"jsonrpc":"2.0","id":1,"result":7}'):
        assert decoded(discover.discovered(discover.initialized(answer)))["capabilities"] == {}


# ---------------------------------------------------------------- input
@pytest.mark.parametrize(
    ("method", "params", "capabilities", "allowed"),
    [
        ("sampling/createMessage", "{}", '{"sampling":{}}', True),
        ("sampling/createMessage", "{}", '{"roots":{}}', False),
        ("roots/list", "{}", '{"roots":{}}', True),
        ("elicitation/create", "{}", '{"elicitation":{}}', True),
        ("elicitation/create", '{"mode":"form"}', '{"elicitation":{"form":{}}}', True),
        ("elicitation/create", "{}", '{"elicitation":{"url":{}}}', False),
        ("elicitation/create", '{"mode":"url"}', '{"elicitation":{}}', False),
        ("elicitation/create", '{"mode":"url"}', '{"elicitation":{"url":{}}}', True),
        ("elicitation/create", '{"mode":7}', '{"elicitation":{}}', False),
        ("tasks/get", "{}", '{"tasks":{}}', False),
    ],
)
def test_a_client_is_asked_only_for_what_it_has_declared(method: str, params: str, capabilities: str, allowed: bool) -> None:
    message = parsed(f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}')
    assert inputs.allowed(message, members(capabilities.encode())) is allowed


def test_a_question_becomes_an_input_request_without_what_the_modern_revision_has_removed() -> None:
    message = parsed(
        '{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"mode":"url","elicitationId":"e","task":{},"_meta":{}}}'
    )
    frame = inputs.input_required(b"7", {"k": inputs.input_request(message)}, "state", b'{"name":"s"}')
    assert decoded(frame) == {
        "jsonrpc": "2.0",
        "id": 7,
        "result": {
            "resultType": "input_required",
            "inputRequests": {"k": {"method": "elicitation/create", "params": {"mode": "url"}}},
            "requestState": "state",
            "_meta": {f"{PREFIX}serverInfo": {"name": "s"}},
        },
    }
    roots = parsed('{"jsonrpc":"2.0","id":1,"method":"roots/list"}')
    assert inputs.input_request(roots) == b'{"method":"roots/list"}'


def test_input_that_is_no_object_is_none() -> None:
    retry = parsed('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"inputResponses":[1]}}')
    assert inputs.given(retry) == {}

"""What a legacy client gets of a modern server's answers: nothing that only a modern client knows, and all else as it was."""

import json
from typing import Any

import pytest

from fabric.mcp import jsonrpc
from fabric.mcp.across_eras import legacy_answers
from fabric.mcp.jsonrpc import Message


def parsed(**members: Any) -> Message:
    return jsonrpc.parse(json.dumps({"jsonrpc": "2.0", **members}).encode())


def response(result: str) -> Message:
    return jsonrpc.parse(b'{"jsonrpc":"2.0","id":"own-1","result":' + result.encode() + b"}")


def answered(message: Message, method: str = "tools/call", revision: str = "2025-11-25") -> Any:
    return json.loads(legacy_answers.answer(message, b'"x"', method, revision))


def test_a_result_loses_what_only_modern_clients_know_and_keeps_every_other_byte() -> None:
    meta = '{"io.modelcontextprotocol/serverInfo":{"name":"s"},"a":1.50}'
    result = response(
        '{"resultType":"complete","content":[ {"x": 1.0} ],"ttlMs":5,"big":12345678901234567890,"cacheScope":"public","_meta":'
        f"{meta}}}"
    )
    frame = legacy_answers.answer(result, b'"x"', "tools/call", "2025-11-25")
    assert frame == (
        b'{"jsonrpc":"2.0","id":"x","result":{"content":[ {"x": 1.0} ],"big":12345678901234567890,"_meta":{"a":1.50}}}'
    )


def test_an_empty_meta_goes_altogether() -> None:
    result = response('{"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}}}')
    assert answered(result)["result"] == {}


@pytest.mark.parametrize("kind", ["task", "input_required", "later"])
def test_a_result_of_a_type_that_its_client_does_not_know_is_an_error(kind: str) -> None:
    error = answered(response(f'{{"resultType":"{kind}","taskId":"1"}}'))["error"]
    assert error["code"] == jsonrpc.INTERNAL_ERROR
    assert kind in error["message"]


@pytest.mark.parametrize(("method", "code"), [("resources/read", -32002), ("tools/call", -32602)])
def test_a_resource_that_is_not_there_has_the_code_of_older_revisions(method: str, code: int) -> None:
    error = {"code": -32602, "message": "not found", "data": {"uri": "x:1"}}
    assert answered(parsed(id="y", error=error), method) == {"jsonrpc": "2.0", "id": "x", "error": error | {"code": code}}


def test_other_errors_pass_as_they_are() -> None:
    error = {"code": -32602, "message": "bad", "data": [1]}
    assert answered(parsed(id="y", error=error), "resources/read")["error"] == error


# ---------------------------------------------------------------- the handshake
DISCOVERED = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {"listChanged": True}, "completions": {}, "extensions": {"x.example/e": {}}},
    "instructions": "Be quick.",
    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1", "title": "S", "icons": []}},
}


@pytest.mark.parametrize(
    ("revision", "capabilities", "info"),
    [
        ("2024-11-05", {"tools"}, {"name", "version"}),
        ("2025-03-26", {"tools", "completions"}, {"name", "version"}),
        ("2025-06-18", {"tools", "completions"}, {"name", "version", "title"}),
        ("2025-11-25", {"tools", "completions"}, {"name", "version", "title", "icons"}),
    ],
)
def test_an_initialize_is_answered_with_what_its_revision_knows(revision: str, capabilities: set[str], info: set[str]) -> None:
    message = parsed(id="x", result=DISCOVERED)
    opened = json.loads(legacy_answers.initialized(message, b'"x"', revision, "fallback"))["result"]
    assert opened["protocolVersion"] == revision
    assert (set(opened["capabilities"]), set(opened["serverInfo"])) == (capabilities, info)
    assert opened["instructions"] == "Be quick."
    assert opened.keys() == {"protocolVersion", "capabilities", "serverInfo", "instructions"}


def test_a_server_that_does_not_name_itself_has_the_name_that_it_is_configured_under() -> None:
    message = parsed(id="x", result={"supportedVersions": ["2026-07-28"], "capabilities": {}})
    opened = json.loads(legacy_answers.initialized(message, b'"x"', "2025-11-25", "files"))["result"]
    assert opened["serverInfo"] == {"name": "files", "version": ""}


def test_a_server_of_unknown_revisions_refuses_an_initialize_in_the_words_of_older_ones() -> None:
    error = {"code": jsonrpc.UNSUPPORTED_VERSION, "message": "Unsupported", "data": {"supported": ["2027-01-01"]}}
    refused = json.loads(legacy_answers.initialized(parsed(id="y", error=error), b'"x"', "2025-11-25", "s"))
    assert (refused["id"], refused["error"]) == ("x", error | {"code": jsonrpc.INVALID_PARAMS})


# ---------------------------------------------------------------- notifications
def test_a_notification_loses_the_id_of_its_subscription() -> None:
    meta = {"io.modelcontextprotocol/subscriptionId": "own-1", "x": 1}
    updated = parsed(method="notifications/resources/updated", params={"uri": "x:1", "_meta": meta})
    assert json.loads(legacy_answers.notification(updated, "2025-11-25"))["params"] == {"uri": "x:1", "_meta": {"x": 1}}


@pytest.mark.parametrize(("revision", "known"), [("2024-11-05", False), ("2025-03-26", True)])
def test_progress_has_its_message_where_the_revision_knows_that(revision: str, known: bool) -> None:
    progress = parsed(method="notifications/progress", params={"progressToken": "t", "progress": 1, "message": "half"})
    assert ("message" in json.loads(legacy_answers.notification(progress, revision))["params"]) is known

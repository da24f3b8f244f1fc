"""`mcp-fabric call`: its output and exit code, for results and for every kind of failure."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.fabrics import run, up
from tests.integration.conftest import BROKEN, ECHO, Write

pytestmark = pytest.mark.requirement("C03")

LEGACY = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    if request["method"] == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "old", "version": "1"}}
    elif request["method"] == "tools/list":
        result = {"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]}
    elif request["method"] == "tools/call":
        print(json.dumps({"jsonrpc": "2.0", "id": 0, "method": "ping"}), flush=True)
        print(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "roots/list"}), flush=True)
        replies = [json.loads(sys.stdin.readline()) for _ in range(2)]
        answers = json.dumps([reply.get("result", reply.get("error")) for reply in replies])
        result = {"content": [{"type": "text", "text": answers}]}
    else:
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "unknown"}}), flush=True)
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
"""

ASKS_WITHOUT_CAPABILITY = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    result = {"resultType": "complete"}
    if request["method"] == "server/discover":
        result |= {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
    elif request["method"] == "tools/list":
        result |= {"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]}
    else:
        result = {"resultType": "input_required", "inputRequests": {"who": {"method": "elicitation/create", "params": {}}}}
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
"""


def test_text_is_printed_plainly(running: Path) -> None:
    done = run("call", "time", "get_current_time", "timezone=Europe/Paris", state=running)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["timezone"] == "Europe/Paris"


def test_json_is_the_whole_result(running: Path) -> None:
    done = run("call", "time", "get_current_time", "timezone=UTC", "--json", state=running)
    result = json.loads(done.stdout)
    assert (done.returncode, result["isError"]) == (0, False)
    assert result["structuredContent"]["timezone"] == "UTC"


def test_content_other_than_text_is_named_and_printed_with_json(running: Path) -> None:
    done = run("call", "conformance", "test_multiple_content_types", state=running)
    assert done.stdout.splitlines()[1:] == ["[image, image/png, 69 bytes; --json prints it]", '{"test":"data","value":123}']
    done = run("call", "conformance", "test_image_content", "--json", state=running)
    assert json.loads(done.stdout)["content"][0]["mimeType"] == "image/png"


def test_a_tool_error_is_printed_on_stderr_and_fails(running: Path) -> None:
    done = run("call", "conformance", "test_error_handling", state=running)
    assert (done.returncode, done.stdout) == (1, "")
    assert "error" in done.stderr


def test_an_error_of_the_server_is_printed_with_its_code(running: Path) -> None:
    done = run("call", "conformance", "no_such_tool", state=running)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("mcp-fabric: ")
    assert "(-32602)" in done.stderr


def test_an_unknown_tool_is_refused_by_the_server_and_the_nearest_name_is_suggested(running: Path) -> None:
    done = run("call", "time", "get_curent_time", "timezone=UTC", state=running)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        "mcp-fabric: time lists no tool 'get_curent_time'; did you mean 'get_current_time'? "
        "There are: get_current_time, convert_time\n"
    ) in done.stderr


def test_invalid_arguments_are_explained_before_the_call(running: Path) -> None:
    done = run("call", "git", "git_log", "max_count=ten", "repo_pth=x", state=running)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "mcp-fabric: repo_pth: the tool's schema does not name it; did you mean 'repo_path'?",
        "mcp-fabric: max_count: 'ten' is not an integer",
        "mcp-fabric: repo_path (a string) is missing",
        "mcp-fabric: more: mcp-fabric call git git_log --help",
    ]


def test_an_argument_of_digits_is_sent_as_a_string_where_the_schema_says_string(running: Path) -> None:
    done = run("call", "conformance", "test_identity", "token=123", state=running)
    assert json.loads(done.stdout)["token"] == "123"


def test_an_unknown_server_is_answered_with_the_known_ones(running: Path) -> None:
    done = run("call", "tiem", "get_current_time", state=running)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "mcp-fabric: no server is named 'tiem' here; did you mean 'time'? There are: conformance, git, time\n"


def test_a_tool_that_needs_elicitation_fails_and_names_the_option(running: Path) -> None:
    done = run("call", "conformance", "test_input_required_result_elicitation", state=running)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "mcp-fabric: the tool wants a person to ask: run this in a terminal, or give --answer KEY=VALUE",
        "mcp-fabric: The client cannot serve elicitation/create (-32021)",
    ]


def test_a_tool_that_asks_without_the_capability_fails_with_the_reason(tmp_path: Path, config: Write) -> None:
    with up(config(asker={"command": sys.executable, "args": ["-c", ASKS_WITHOUT_CAPABILITY]}), tmp_path) as process:
        process.ready()
        done = run("call", "asker", "ask", state=tmp_path)
        forever = run("call", "asker", "ask", "--answer", "decline", state=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "mcp-fabric: the tool wants a person to ask: run this in a terminal, or give --answer KEY=VALUE\n"
    assert forever.returncode == 1
    assert forever.stderr == "mcp-fabric: the server has asked 10 times and still wants more: run this in a terminal\n"


def test_a_legacy_server_gets_answers_for_a_client_that_declares_nothing(tmp_path: Path, config: Write) -> None:
    with up(config(old={"command": sys.executable, "args": ["-c", LEGACY]}), tmp_path) as process:
        process.ready()
        done = run("call", "old", "ask", state=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    pong, refusal = json.loads(done.stdout)
    assert (pong, refusal["code"]) == ({}, -32601)


def test_a_server_that_cannot_start_is_unavailable_with_the_reason(tmp_path: Path, config: Write) -> None:
    with up(config(echo=ECHO, broken=BROKEN), tmp_path) as process:
        process.ready()
        done = run("call", "broken", "anything", state=tmp_path)
    assert done.returncode == 1
    assert "no database" in done.stderr
    assert done.stderr.endswith("(unavailable)\n")


def test_without_a_running_fabric_call_names_the_command_that_starts_one(tmp_path: Path) -> None:
    done = run("call", "time", "get_current_time", state=tmp_path)
    assert done.returncode == 3
    assert "mcp-fabric up CONFIG" in done.stderr


def test_an_unreachable_broker_is_named_without_its_password(tmp_path: Path) -> None:
    secret = {"FABRIC_SECRET": "one of sixteen bytes or more"}
    done = run("call", "time", "x", "--broker", "nats://someone:hidden@127.0.0.1:1", state=tmp_path, **secret)
    assert done.returncode == 3
    assert "nats://127.0.0.1:1: cannot be reached" in done.stderr
    assert "hidden" not in done.stderr

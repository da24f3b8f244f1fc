"""`mcp-fabric call`: what it prints and how it ends, for results and for every kind of failure."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.fabrics import ask, up
from tests.integration.conftest import BROKEN, ECHO, Write

pytestmark = pytest.mark.requirement("C03")

LEGACY = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    if asked["method"] == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "old", "version": "1"}}
    elif asked["method"] == "tools/list":
        result = {"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]}
    elif asked["method"] == "tools/call":
        print(json.dumps({"jsonrpc": "2.0", "id": 0, "method": "ping"}), flush=True)
        print(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "roots/list"}), flush=True)
        replies = [json.loads(sys.stdin.readline()) for _ in range(2)]
        said = json.dumps([reply.get("result", reply.get("error")) for reply in replies])
        result = {"content": [{"type": "text", "text": said}]}
    else:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "what?"}}), flush=True)
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""

RUDE = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    result = {"resultType": "complete"}
    if asked["method"] == "server/discover":
        result |= {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
    elif asked["method"] == "tools/list":
        result |= {"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]}
    else:
        result = {"resultType": "input_required", "inputRequests": {"who": {"method": "elicitation/create", "params": {}}}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""


def test_text_is_printed_plainly(running: Path) -> None:
    done = ask("call", "time", "get_current_time", "timezone=Europe/Paris", state=running)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["timezone"] == "Europe/Paris"


def test_json_is_the_whole_result(running: Path) -> None:
    done = ask("call", "time", "get_current_time", "timezone=UTC", "--json", state=running)
    result = json.loads(done.stdout)
    assert (done.returncode, result["isError"]) == (0, False)
    assert result["structuredContent"]["timezone"] == "UTC"


def test_content_that_is_no_text_is_named_and_printed_by_json(running: Path) -> None:
    done = ask("call", "conformance", "test_multiple_content_types", state=running)
    assert done.stdout.splitlines()[1:] == ["[image, image/png, 69 bytes; --json prints it]", '{"test":"data","value":123}']
    done = ask("call", "conformance", "test_image_content", "--json", state=running)
    assert json.loads(done.stdout)["content"][0]["mimeType"] == "image/png"


def test_an_error_of_the_tool_goes_to_stderr_and_fails(running: Path) -> None:
    done = ask("call", "conformance", "test_error_handling", state=running)
    assert (done.returncode, done.stdout) == (1, "")
    assert "error" in done.stderr


def test_a_refusal_of_the_server_is_printed_with_its_code(running: Path) -> None:
    done = ask("call", "conformance", "no_such_tool", state=running)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("mcp-fabric: ")
    assert "(-32602)" in done.stderr


def test_an_unknown_tool_is_the_servers_to_refuse_and_the_nearest_is_said(running: Path) -> None:
    done = ask("call", "time", "get_curent_time", "timezone=UTC", state=running)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        "mcp-fabric: time lists no tool 'get_curent_time'; did you mean 'get_current_time'? "
        "There are: get_current_time, convert_time\n"
    ) in done.stderr


def test_arguments_that_do_not_fit_are_refused_in_words_before_the_call(running: Path) -> None:
    done = ask("call", "git", "git_log", "max_count=ten", "repo_pth=x", state=running)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "mcp-fabric: repo_pth: the tool's schema does not name it; did you mean 'repo_path'?",
        "mcp-fabric: max_count: 'ten' is not an integer",
        "mcp-fabric: repo_path (a string) is missing",
        "mcp-fabric: more: mcp-fabric call git git_log --help",
    ]


def test_a_string_of_digits_stays_a_string_and_a_number_is_one(running: Path) -> None:
    done = ask("call", "conformance", "test_identity", "token=123", state=running)
    assert json.loads(done.stdout)["token"] == "123"


def test_an_unknown_server_is_answered_with_those_there_are(running: Path) -> None:
    done = ask("call", "tiem", "get_current_time", state=running)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "mcp-fabric: no server is named 'tiem' here; did you mean 'time'? There are: conformance, git, time\n"


def test_a_tool_that_needs_a_capability_is_told_that_nobody_is_here_to_be_asked(running: Path) -> None:
    done = ask("call", "conformance", "test_input_required_result_elicitation", state=running)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "mcp-fabric: the tool wants a person to ask: run this in a terminal, or give --answer KEY=VALUE",
        "mcp-fabric: The client cannot serve elicitation/create (-32021)",
    ]


def test_a_tool_that_asks_for_input_all_the_same_fails_saying_so(tmp_path: Path, config: Write) -> None:
    with up(config(rude={"command": sys.executable, "args": ["-c", RUDE]}), tmp_path) as process:
        process.ready()
        done = ask("call", "rude", "ask", state=tmp_path)
        forever = ask("call", "rude", "ask", "--answer", "decline", state=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "mcp-fabric: the tool wants a person to ask: run this in a terminal, or give --answer KEY=VALUE\n"
    assert forever.returncode == 1
    assert forever.stderr == "mcp-fabric: the server has asked 10 times and still wants more: run this in a terminal\n"


def test_a_server_of_the_older_era_is_initialized_first_and_what_it_asks_is_answered(tmp_path: Path, config: Write) -> None:
    with up(config(old={"command": sys.executable, "args": ["-c", LEGACY]}), tmp_path) as process:
        process.ready()
        done = ask("call", "old", "ask", state=tmp_path)
    assert done.stderr == "mcp-fabric: the tool wants folders to look into: give --root DIR, or run this in a terminal\n"
    pong, refusal = json.loads(done.stdout)
    assert (pong, refusal["code"]) == ({}, -32601)


def test_a_server_that_cannot_start_is_unavailable_with_its_reason(tmp_path: Path, config: Write) -> None:
    with up(config(echo=ECHO, broken=BROKEN), tmp_path) as process:
        process.ready()
        done = ask("call", "broken", "anything", state=tmp_path)
    assert done.returncode == 1
    assert "no database" in done.stderr
    assert done.stderr.endswith("(unavailable)\n")


def test_without_a_fabric_it_says_how_to_start_one(tmp_path: Path) -> None:
    done = ask("call", "time", "get_current_time", state=tmp_path)
    assert done.returncode == 3
    assert "mcp-fabric up CONFIG" in done.stderr


def test_a_broker_that_is_not_there_is_named(tmp_path: Path) -> None:
    secret = {"FABRIC_SECRET": "one of sixteen bytes or more"}
    done = ask("call", "time", "x", "--broker", "nats://someone:hidden@127.0.0.1:1", state=tmp_path, **secret)
    assert done.returncode == 3
    assert "nats://127.0.0.1:1: cannot be reached" in done.stderr
    assert "hidden" not in done.stderr

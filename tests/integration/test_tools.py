"""`mcp-fabric tools`, `resources`, `prompts`, `call` without a tool, and the help of a tool: as text and as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.fabrics import ROOT, run, up
from tests.integration.conftest import ECHO, Write

pytestmark = pytest.mark.requirement("C03")


@pytest.mark.parametrize("command", ["tools", "call"])
def test_tools_are_listed_with_their_arguments(running: Path, command: str) -> None:
    done = run(command, "time", state=running)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "get_current_time",
        "  Get current time in a specific timezone",
        "  (only reads, may be repeated)",
    ]
    assert lines[3].startswith("    timezone  a string, required  IANA timezone name")
    assert "convert_time" in lines
    assert done.stderr.startswith("try: mcp-fabric call time get_current_time timezone=")


def test_the_try_line_runs_as_it_is_printed(running: Path) -> None:
    shown = run("tools", "time", state=running).stderr.removeprefix("try: mcp-fabric ").split()
    assert run(*shown, state=running).returncode == 0


def test_every_page_of_a_tool_list_is_fetched(tmp_path: Path, config: Write) -> None:
    asker = {"command": sys.executable, "args": [str(ROOT / "tests" / "integration" / "asking_server.py")]}
    with up(config(asker=asker, echo=ECHO), tmp_path) as process:
        process.ready()
        tools = json.loads(run("tools", "asker", "--json", state=tmp_path).stdout)["tools"]
        none = run("resources", "echo", state=tmp_path)
    assert [tool["name"] for tool in tools] == ["form", "page", "sample", "roots", "login", "capabilities"]
    assert (none.returncode, none.stderr) == (0, "mcp-fabric: echo has no resources\n")


def test_resources_and_their_templates_are_listed(running: Path) -> None:
    done = run("resources", "conformance", state=running)
    assert "test://static-text\n  static-text, text/plain\n    A text\n" in done.stdout
    assert "test://template/{id}/data\n" in done.stdout
    listed = json.loads(run("resources", "conformance", "--json", state=running).stdout)
    assert (listed["resources"][0]["uri"], len(listed["resourceTemplates"])) == ("test://static-text", 1)


def test_prompts_are_listed_with_their_arguments(running: Path) -> None:
    done = run("prompts", "conformance", state=running)
    assert "test_prompt_with_arguments\n  A prompt with two arguments\n    arg1  required  arg1\n" in done.stdout


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_the_help_of_a_tool_explains_its_schema(running: Path, option: str) -> None:
    done = run("call", "time", "get_current_time", option, state=running)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "Usage: mcp-fabric call time get_current_time timezone=TEXT [KEY=VALUE]..."
    assert "    timezone  a string, required  IANA timezone name" in done.stdout
    git = run("call", "git", "git_log", option, state=running).stdout
    assert "max_count" in git
    assert "an integer, optional, 10 if not given" in git


def test_the_help_of_an_unknown_tool_names_the_known_ones(running: Path) -> None:
    done = run("call", "time", "convert", "--help", state=running)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("There are: get_current_time, convert_time\n")


def test_an_unknown_server_is_answered_with_the_nearest_name(running: Path) -> None:
    done = run("tools", "gti", state=running)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "mcp-fabric: no server is named 'gti' here; did you mean 'git'? There are: conformance, git, time\n"

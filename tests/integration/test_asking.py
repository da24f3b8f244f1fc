"""What a tool asks of its client, in both eras: a person at a real terminal answers, or the command line, or nobody does."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fabrics import ROOT, ask, up
from tests.terminals import Terminal

pytestmark = pytest.mark.requirement("C03")

ASKER = {"command": sys.executable, "args": [str(ROOT / "tests" / "integration" / "asking_server.py")]}


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state of a fabric with the server of the older era."""
    state = tmp_path_factory.mktemp("asker")
    config = state / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"asker": ASKER}}))
    with up(config, state) as process:
        process.ready()
        yield state


# ---------------------------------------------------------------- at a terminal
def test_a_form_is_filled_in_field_by_field_and_what_does_not_fit_is_asked_again(asker: Path) -> None:
    with Terminal("call", "asker", "form", state=asker) as terminal:
        terminal.shows("asker asks: Who are \N{REPLACEMENT CHARACTER}[31myou?")
        terminal.shows("name, a string: ")
        terminal.type("")
        terminal.shows("name, a string: ")
        terminal.type("Ada")
        terminal.shows("age, an integer, optional [30]: ")
        terminal.type("young")
        terminal.shows("'young' is not an integer")
        terminal.shows("age, an integer, optional [30]: ")
        terminal.type("36")
        terminal.shows("colours, some of #f00 (red), #0f0 (green), optional: ")
        terminal.type("green, #f00")
        terminal.shows("send it? yes, edit, decline or cancel [yes]: ")
        terminal.type("edit")
        terminal.shows("name, a string [Ada]: ")
        terminal.type("Ada L.")
        terminal.shows("age, an integer, optional [36]: ")
        terminal.type("")
        terminal.shows('optional [["#0f0","#f00"]]: ')
        terminal.type("")
        terminal.shows("[yes]: ")
        terminal.type("y")
        code, said = terminal.end()
    content = {"name": "Ada L.", "age": 36, "colours": ["#0f0", "#f00"]}
    assert (code, json.loads(said)) == (0, {"action": "accept", "content": content})
    assert "[warning asker] " in terminal.screen  # in a colour
    assert '{"asks":"form"}' in terminal.screen


@pytest.mark.parametrize(("keys", "action"), [("decline\n", "decline"), ("\x04", "cancel")], ids=["decline", "Ctrl-D"])
def test_a_person_may_decline_or_cancel(asker: Path, keys: str, action: str) -> None:
    with Terminal("call", "asker", "page", state=asker) as terminal:
        terminal.shows("asker asks you to open a page of login.example.org: Log in")
        terminal.shows("https://login.example.org/x?y=1")
        terminal.shows("yes, decline or cancel [yes]: ")
        terminal.type(keys, end="")
        code, said = terminal.end()
    assert (code, json.loads(said)) == (0, {"action": action})


def test_a_call_that_wants_a_page_opened_first_is_made_again(asker: Path) -> None:
    with Terminal("call", "asker", "login", state=asker) as terminal:
        terminal.shows("https://login.example.org/x?y=1")
        terminal.shows("[yes]: ")
        terminal.type("")
        assert terminal.end() == (0, "logged in\n")
    assert ask("call", "asker", "login", "--answer", "accept", state=asker).stdout == "logged in\n"
    refused = ask("call", "asker", "login", "--answer", "decline", state=asker)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.endswith("mcp-fabric: Log in first (-32042)\n")


def test_a_person_may_be_the_model_or_decline_to(asker: Path) -> None:
    with Terminal("call", "asker", "sample", state=asker) as terminal:
        terminal.shows("user: Sum?")
        terminal.shows("sends it: ")
        terminal.type("It is")
        terminal.shows("and: ")
        terminal.type("four")
        terminal.shows("and: ")
        terminal.type("")
        assert json.loads(terminal.end()[1])["content"] == {"type": "text", "text": "It is\nfour"}
    with Terminal("call", "asker", "sample", state=asker) as terminal:
        terminal.shows("sends it: ")
        terminal.type("")
        assert terminal.end() == (1, "")
    assert '"code": -1' in terminal.screen


def test_what_a_modern_server_asks_for_is_asked_one_thing_after_the_other(running: Path, tmp_path: Path) -> None:
    with Terminal("call", "conformance", "test_input_required_result_multiple_inputs", state=running) as terminal:
        terminal.shows("name, a string: ")
        terminal.type("Ada")
        terminal.shows("[yes]: ")
        terminal.type("")
        terminal.shows("sends it: ")
        terminal.type("hello")
        terminal.shows("and: ")
        terminal.type("")
        terminal.shows("folder, an empty line ends: ")
        terminal.type(str(tmp_path))
        terminal.shows("folder, an empty line ends: ")
        terminal.type("")
        assert terminal.end() == (0, "hello Ada, 1 roots\n")


def test_a_person_who_thinks_is_waited_for_and_one_who_interrupts_ends_the_call(running: Path) -> None:
    with Terminal("call", "conformance", "test_input_required_result_elicitation", state=running) as terminal:
        terminal.shows("name, a string: ")
        terminal.type("\x03", end="")
        assert terminal.end() == (130, "")
    assert terminal.screen.endswith("mcp-fabric: interrupted\n")


def test_progress_moves_on_a_terminal_and_is_gone_in_the_end(running: Path) -> None:
    with Terminal("call", "conformance", "test_tool_with_progress", state=running) as terminal:
        terminal.shows("100 of 100: Completed step 100 of 100")
        assert terminal.end() == (0, "Tool with progress executed successfully\n")
    assert terminal.screen.endswith("\x1b[2K")  # the line is erased


# ---------------------------------------------------------------- without a terminal
def test_progress_and_log_are_lines_where_nothing_can_move(asker: Path) -> None:
    done = ask("call", "asker", "roots", "--root", ROOT, state=asker)
    assert json.loads(done.stdout) == {"roots": [{"uri": ROOT.as_uri(), "name": ROOT.name}]}
    assert done.stderr.splitlines() == ["1 of 2: about to ask", '[warning asker] {"asks":"roots"}']


@pytest.mark.parametrize(("options", "declared"), [
    ([], {}),
    (["--answer", "name=Ada"], {"elicitation": {"form": {}}}),
    (["--answer", "decline"], {"elicitation": {"form": {}, "url": {}}}),
    (["--sampling", "x", "--root", "/"], {"sampling": {}, "roots": {}}),
])  # fmt: skip
def test_only_what_can_be_served_is_declared(asker: Path, options: list[str], declared: object) -> None:
    done = ask("call", "asker", "capabilities", *options, state=asker)
    assert json.loads(done.stdout) == declared


FILLED = {"action": "accept", "content": {"name": "12", "age": 30, "colours": ["#f00"]}}


@pytest.mark.parametrize(("tool", "options", "reply"), [
    ("form", ["--answer", "name=12", "--answer", "colours=red"], FILLED),
    ("form", ["--answer", "decline"], {"action": "decline"}),
    ("page", ["--answer", "accept"], {"action": "accept"}),
    ("sample", ["--sampling", "four"], {"role": "assistant", "content": {"type": "text", "text": "four"}}),
])  # fmt: skip
def test_the_command_line_answers_as_well(asker: Path, tool: str, options: list[str], reply: dict[str, object]) -> None:
    done = ask("call", "asker", tool, *options, state=asker)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).items() >= reply.items()


@pytest.mark.parametrize(("tool", "option"), [
    ("form", "--answer KEY=VALUE"), ("page", "--answer KEY=VALUE"), ("sample", "--sampling TEXT"), ("roots", "--root DIR")
])  # fmt: skip
def test_whoever_is_missing_is_said_with_the_option_that_helps(asker: Path, tool: str, option: str) -> None:
    done = ask("call", "asker", tool, state=asker)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("mcp-fabric: the tool wants ")
    assert option in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("tool", "option"), [
    ("elicitation", "--answer KEY=VALUE"), ("sampling", "--sampling TEXT"), ("list_roots", "--root DIR")
])  # fmt: skip
def test_so_it_is_with_a_modern_server(running: Path, tool: str, option: str) -> None:
    done = ask("call", "conformance", f"test_input_required_result_{tool}", state=running)
    assert (done.returncode, done.stdout) == (1, "")
    assert option in done.stderr


def test_a_field_that_the_form_needs_and_nobody_gave_is_named(running: Path) -> None:
    arguments = ["call", "conformance", "test_elicitation", "message=Who?", "--answer", "username=ada"]
    done = ask(*arguments, state=running)
    assert done.returncode == 1
    assert done.stderr == "mcp-fabric: the form wants email, a string: give --answer email=VALUE\n"
    assert '"email": "a@b.c"' in ask(*arguments, "--answer", "email=a@b.c", state=running).stdout

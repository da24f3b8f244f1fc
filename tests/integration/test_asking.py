"""Questions of a tool to `mcp-fabric call`, in both eras: answered at a real terminal, by options, or not at all."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fabrics import ROOT, run, up
from tests.terminals import Terminal

pytestmark = pytest.mark.requirement("C03")

ASKER = {"command": sys.executable, "args": [str(ROOT / "tests" / "integration" / "asking_server.py")]}


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a fabric with a legacy server."""
    state = tmp_path_factory.mktemp("asker")
    config = state / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"asker": ASKER}}))
    with up(config, state) as process:
        process.ready()
        yield state


# ---------------------------------------------------------------- at a terminal
def test_a_form_is_asked_field_by_field_and_an_invalid_value_is_asked_again(asker: Path) -> None:
    with Terminal("call", "asker", "form", state=asker) as terminal:
        terminal.wait_for("asker asks: Who are \N{REPLACEMENT CHARACTER}[31myou?")
        terminal.wait_for("name, a string: ")
        terminal.type("")
        terminal.wait_for("name, a string: ")
        terminal.type("Ada")
        terminal.wait_for("age, an integer, optional [30]: ")
        terminal.type("young")
        terminal.wait_for("'young' is not an integer")
        terminal.wait_for("age, an integer, optional [30]: ")
        terminal.type("36")
        terminal.wait_for("colours, some of #f00 (red), #0f0 (green), optional: ")
        terminal.type("green, #f00")
        terminal.wait_for("send it? yes, edit, decline or cancel [yes]: ")
        terminal.type("edit")
        terminal.wait_for("name, a string [Ada]: ")
        terminal.type("Ada L.")
        terminal.wait_for("age, an integer, optional [36]: ")
        terminal.type("")
        terminal.wait_for('optional [["#0f0","#f00"]]: ')
        terminal.type("")
        terminal.wait_for("[yes]: ")
        terminal.type("y")
        code, stdout = terminal.end()
    content = {"name": "Ada L.", "age": 36, "colours": ["#0f0", "#f00"]}
    assert (code, json.loads(stdout)) == (0, {"action": "accept", "content": content})
    assert "[warning asker] " in terminal.screen  # "[warning asker]" is coloured
    assert '{"asks":"form"}' in terminal.screen


@pytest.mark.parametrize(("keys", "action"), [("decline\n", "decline"), ("\x04", "cancel")], ids=["decline", "Ctrl-D"])
def test_a_person_may_decline_or_cancel(asker: Path, keys: str, action: str) -> None:
    with Terminal("call", "asker", "page", state=asker) as terminal:
        terminal.wait_for("asker asks you to open a page of login.example.org: Log in")
        terminal.wait_for("https://login.example.org/x?y=1")
        terminal.wait_for("yes, decline or cancel [yes]: ")
        terminal.type(keys, end="")
        code, stdout = terminal.end()
    assert (code, json.loads(stdout)) == (0, {"action": action})


def test_a_call_is_retried_after_the_page_that_it_requires_was_opened(asker: Path) -> None:
    with Terminal("call", "asker", "login", state=asker) as terminal:
        terminal.wait_for("https://login.example.org/x?y=1")
        terminal.wait_for("[yes]: ")
        terminal.type("")
        assert terminal.end() == (0, "logged in\n")
    assert run("call", "asker", "login", "--answer", "accept", state=asker).stdout == "logged in\n"
    refused = run("call", "asker", "login", "--answer", "decline", state=asker)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.endswith("mcp-fabric: Log in first (-32042)\n")


def test_a_person_may_answer_a_sampling_request_or_decline(asker: Path) -> None:
    with Terminal("call", "asker", "sample", state=asker) as terminal:
        terminal.wait_for("user: Sum?")
        terminal.wait_for("sends it: ")
        terminal.type("It is")
        terminal.wait_for("and: ")
        terminal.type("four")
        terminal.wait_for("and: ")
        terminal.type("")
        assert json.loads(terminal.end()[1])["content"] == {"type": "text", "text": "It is\nfour"}
    with Terminal("call", "asker", "sample", state=asker) as terminal:
        terminal.wait_for("sends it: ")
        terminal.type("")
        assert terminal.end() == (1, "")
    assert terminal.screen.endswith("mcp-fabric: the person who was asked declined\n")


def test_the_questions_of_a_modern_server_are_asked_one_after_the_other(running: Path, tmp_path: Path) -> None:
    with Terminal("call", "conformance", "test_input_required_result_multiple_inputs", state=running) as terminal:
        terminal.wait_for("name, a string: ")
        terminal.type("Ada")
        terminal.wait_for("[yes]: ")
        terminal.type("")
        terminal.wait_for("sends it: ")
        terminal.type("hello")
        terminal.wait_for("and: ")
        terminal.type("")
        terminal.wait_for("folder, an empty line ends: ")
        terminal.type(str(tmp_path))
        terminal.wait_for("folder, an empty line ends: ")
        terminal.type("")
        assert terminal.end() == (0, "hello Ada, 1 roots\n")


def test_ctrl_c_during_a_question_ends_the_call(running: Path) -> None:
    with Terminal("call", "conformance", "test_input_required_result_elicitation", state=running) as terminal:
        terminal.wait_for("name, a string: ")
        terminal.type("\x03", end="")
        assert terminal.end() == (130, "")
    assert terminal.screen.endswith("mcp-fabric: interrupted\n")


def test_progress_is_drawn_on_a_terminal_and_erased_at_the_end(running: Path) -> None:
    with Terminal("call", "conformance", "test_tool_with_progress", state=running) as terminal:
        terminal.wait_for("100 of 100: Completed step 100 of 100")
        assert terminal.end() == (0, "Tool with progress executed successfully\n")
    assert terminal.screen.endswith("\x1b[2K")  # the control sequence that erases the line


# ---------------------------------------------------------------- without a terminal
def test_progress_and_log_are_printed_as_lines_without_a_terminal(asker: Path) -> None:
    done = run("call", "asker", "roots", "--root", ROOT, state=asker)
    assert json.loads(done.stdout) == {"roots": [{"uri": ROOT.as_uri(), "name": ROOT.name}]}
    assert done.stderr.splitlines() == ["1 of 2: about to ask", '[warning asker] {"asks":"roots"}']


@pytest.mark.parametrize(("options", "declared"), [
    ([], {}),
    (["--answer", "name=Ada"], {"elicitation": {"form": {}}}),
    (["--answer", "decline"], {"elicitation": {"form": {}, "url": {}}}),
    (["--sampling", "x", "--root", "/"], {"sampling": {}, "roots": {}}),
])  # fmt: skip
def test_only_capabilities_that_can_be_served_are_declared(asker: Path, options: list[str], declared: object) -> None:
    done = run("call", "asker", "capabilities", *options, state=asker)
    assert json.loads(done.stdout) == declared


FILLED = {"action": "accept", "content": {"name": "12", "age": 30, "colours": ["#f00"]}}


@pytest.mark.parametrize(("tool", "options", "reply"), [
    ("form", ["--answer", "name=12", "--answer", "colours=red"], FILLED),
    ("form", ["--answer", "decline"], {"action": "decline"}),
    ("page", ["--answer", "accept"], {"action": "accept"}),
    ("sample", ["--sampling", "four"], {"role": "assistant", "content": {"type": "text", "text": "four"}}),
])  # fmt: skip
def test_options_answer_the_questions_of_a_server(asker: Path, tool: str, options: list[str], reply: dict[str, object]) -> None:
    done = run("call", "asker", tool, *options, state=asker)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).items() >= reply.items()


@pytest.mark.parametrize(("tool", "option"), [
    ("form", "--answer KEY=VALUE"), ("page", "--answer KEY=VALUE"), ("sample", "--sampling TEXT"), ("roots", "--root DIR")
])  # fmt: skip
def test_an_unanswered_question_fails_and_names_the_option_that_answers_it(asker: Path, tool: str, option: str) -> None:
    done = run("call", "asker", tool, state=asker)
    assert (done.returncode, done.stdout) == (1, "")
    [advice] = [line for line in done.stderr.splitlines() if line.startswith("mcp-fabric: the tool wants ")]
    assert option in advice


@pytest.mark.parametrize(("tool", "option"), [
    ("elicitation", "--answer KEY=VALUE"), ("sampling", "--sampling TEXT"), ("list_roots", "--root DIR")
])  # fmt: skip
def test_an_unanswered_question_of_a_modern_server_names_the_option_that_answers_it(
    running: Path, tool: str, option: str
) -> None:
    done = run("call", "conformance", f"test_input_required_result_{tool}", state=running)
    assert (done.returncode, done.stdout) == (1, "")
    assert option in done.stderr


def test_a_missing_field_of_a_form_is_named(running: Path) -> None:
    arguments = ["call", "conformance", "test_elicitation", "message=Who?", "--answer", "username=ada"]
    done = run(*arguments, state=running)
    assert done.returncode == 1
    assert done.stderr == "mcp-fabric: the form wants email, a string: give --answer email=VALUE\n"
    assert '"email": "a@b.c"' in run(*arguments, "--answer", "email=a@b.c", state=running).stdout

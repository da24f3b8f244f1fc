"""The printed forms of a result, a tool, and text of a server."""

from __future__ import annotations

import json

import pytest

from workers.screen.terminal import harmless
from workers.tools.result import show
from workers.tools.words import prompt_lines, resource_lines, tool_lines, usage

pytestmark = pytest.mark.requirement("C03")

UNSHOWN = "[resource a, of an unknown type, 1 bytes; --json prints it]"


@pytest.mark.parametrize(("block", "line"), [
    ({"type": "text", "text": "as it is\x1b[0m"}, "as it is\x1b[0m"),
    ({"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}, "[audio, audio/wav, 3 bytes; --json prints it]"),
    ({"type": "image", "data": "AA=="}, "[image, of an unknown type, 1 bytes; --json prints it]"),
    ({"type": "resource_link", "uri": "file:///x", "name": "x", "description": "a file"}, "file:///x  x  a file"),
    ({"type": "resource", "resource": {"uri": "file:///x", "text": "its text"}}, "its text"),
    ({"type": "resource", "resource": {"uri": "a", "blob": "AA=="}}, UNSHOWN),
    ({"type": "novel"}, '{\n  "type": "novel"\n}'),
])  # fmt: skip
def test_each_kind_of_content_is_shown(capsys: pytest.CaptureFixture[str], block: dict[str, object], line: str) -> None:
    assert show({"content": [block]}, json=False) == 0
    assert capsys.readouterr() == (f"{line}\n", "")


def test_structured_content_is_shown_where_there_is_no_other_content(capsys: pytest.CaptureFixture[str]) -> None:
    show({"content": [], "structuredContent": {"a": 1}}, json=False)
    show({"content": [{"type": "text", "text": "one"}], "structuredContent": {"a": 1}}, json=False)
    assert capsys.readouterr().out == '{\n  "a": 1\n}\none\n'


def test_a_failure_is_shown_on_stderr_and_with_json_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"content": [{"type": "text", "text": "no"}], "isError": True}
    assert show(failed, json=False) == 1
    assert capsys.readouterr() == ("", "no\n")
    assert show(failed, json=True) == 1
    assert json.loads(capsys.readouterr().out) == failed


def test_a_narrow_terminal_gets_descriptions_below_the_names() -> None:
    width = 40
    schema = {"properties": {"a_long_name": {"type": "integer", "description": "how many of them there are"}}}
    tool = {
        "name": "count",
        "description": "Count.\n\nAt length.",
        "inputSchema": schema,
        "annotations": {"destructiveHint": True},
    }
    lines = tool_lines(tool, width)
    assert lines[:3] == ["count", "  Count.", "  (may destroy)"]
    assert all(len(line) <= width for line in lines)
    assert all(
        line.strip() for line in tool_lines({"name": "x", "inputSchema": {"properties": {"y" * 20: {}, "z": {}}}}, width)
    )
    assert "At length." in " ".join(tool_lines(tool, 80, whole=True))


def test_a_tool_without_details_is_shown_as_its_name() -> None:
    assert tool_lines({"name": "bare"}, 80) == ["bare"]
    assert tool_lines({"name": "odd", "inputSchema": "none", "annotations": 1, "description": None}, 80) == ["odd"]
    assert prompt_lines({"name": "bare", "arguments": [1]}, 80) == ["bare"]
    assert resource_lines({"uri": "a:b", "size": 3}, 80) == ["a:b", "  3 bytes"]


def test_choices_are_shown_as_they_would_be_typed() -> None:
    tool = {"name": "pick", "inputSchema": {"properties": {"e": {"enum": ["x", 1, True, None]}}}}
    assert tool_lines(tool, 80)[-1].strip() == "e  one of x, 1, true, null, optional"


def test_the_usage_shows_the_required_arguments_with_their_types() -> None:
    schema = {
        "properties": {"n": {"type": "integer"}, "s": {"type": "string"}, "e": {"enum": [1]}},
        "required": ["n", "s", "e"],
        "additionalProperties": False,
    }
    assert usage("server", {"name": "tool", "inputSchema": schema}) == "mcp-fabric call server tool n=INTEGER s=TEXT e=INTEGER"


def test_harmless_text_has_no_control_characters() -> None:
    assert harmless("a\x1b[2J\rb\u202ec\td\n") == "a\ufffd[2J\ufffdb\ufffdc\td\n"

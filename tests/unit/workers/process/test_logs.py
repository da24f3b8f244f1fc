"""Log lines as text and as JSON."""

from __future__ import annotations

import json
import logging
import re

import pytest

from workers.process.logs import JsonLines, TextLines

pytestmark = pytest.mark.requirement("O05")


def line(message: str, *values: object, about: dict[str, str] | None = None, error: Exception | None = None) -> dict[str, str]:
    """The JSON line of a log call with these arguments, decoded."""
    exception = (type(error), error, error.__traceback__) if error else None
    record = logging.getLogger("mcp-fabric").makeRecord("mcp-fabric", 30, "file", 1, message, values, exception, extra=about)
    written = JsonLines().format(record)
    assert "\n" not in written
    members: dict[str, str] = json.loads(written)
    return members


def test_a_text_line_has_no_terminal_control_characters() -> None:
    record = logging.getLogger("mcp-fabric").makeRecord("mcp-fabric", 30, "file", 1, "%s", ("\x1b[2J\rx\ty",), None)
    assert TextLines().format(record) == "\ufffd[2J\ufffdx\ty"


def test_a_json_line_has_time_level_and_message() -> None:
    members = line("two\nlines of %s", "time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", members.pop("time"))
    assert members == {"level": "warning", "message": "two\nlines of time"}


def test_a_json_line_has_its_server_and_its_trace() -> None:
    about = {
        "server": "time",
        "child": "time-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
    }
    assert line("slow", about=about).items() >= about.items()


def test_a_json_line_has_a_traceback_as_its_error() -> None:
    with pytest.raises(ValueError, match="no such zone") as caught:
        raise ValueError("no such zone")
    assert line("failed", error=caught.value)["error"].endswith("ValueError: no such zone")

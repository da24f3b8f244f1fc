"""A printed table has aligned columns, and folds a cell that is too wide."""

from __future__ import annotations

import pytest

from workers.screen import table


def shown(capsys: pytest.CaptureFixture[str], *titles: str, rows: list[tuple[object, ...]]) -> list[str]:
    table.show(*titles, rows=rows)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_columns_are_as_wide_as_their_widest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "server", "free", rows=[("time", 64), ("conformance", 0)]) == [
        "server       free",
        "time         64",
        "conformance  0",
    ]


def test_a_wide_character_counts_as_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "server", "free", rows=[("時計時計", 64), ("git", 0)])
    assert lines == ["server    free", "時計時計  64", "git       0"]


def test_a_cell_that_is_too_wide_is_folded(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "server", "reason", rows=[("broken", "x" * 300), ("time", "")])
    assert all(len(line) <= table.PIPE_WIDTH for line in lines)
    assert "".join(lines).count("x") == 300
    assert lines[-1] == "time"


def test_a_table_without_rows_shows_its_titles(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "server", "free", rows=[]) == ["server  free"]


def test_a_cell_has_no_terminal_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in "".join(shown(capsys, "server", rows=[("\x1b[2Jtime",)]))

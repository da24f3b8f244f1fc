"""Each mistake in a JSON config file has a readable message with its line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.config.files.json_file import content_of
from fabric.errors import ConfigError

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def refused(tmp_path: Path, raw: bytes) -> str:
    path = tmp_path / "mcp.json"
    path.write_bytes(raw)
    with pytest.raises(ConfigError) as error:
        content_of(path, ENVIRONMENT)
    return str(error.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: not JSON: the file is empty"),
        ("{name: 1}", "line 1, column 2: not JSON: `name` needs double quotes"),
        ('{"a": npx}', "line 1, column 7: not JSON: `npx` needs double quotes"),
        ("{'a': 1}", "line 1, column 2: not JSON: strings are written in double quotes, not in single ones"),
        ("{\"a\": 'x'}", "line 1, column 7: not JSON: strings are written in double quotes, not in single ones"),
        ('{"a": True}', "line 1, column 7: not JSON: write `true`"),
        ('{"a": 1\n "b": 2}', "line 1, column 8: not JSON: a comma is missing here"),
        ('["a" "b"]', "line 1, column 5: not JSON: a comma is missing here"),
        ('{"a" 1}', "line 1, column 6: not JSON: a colon is missing after the key"),
        ('{"a": }', "line 1, column 7: not JSON: something is missing before this `}`"),
        ('{"a": 1 /* b\n}', "line 1, column 9: not JSON: this comment is not closed: a `*/` is missing"),
        ('{/* c */ "a": /* b', "line 1, column 15: not JSON: this comment is not closed: a `*/` is missing"),
        ('/* b {"a": 1}', "line 1, column 1: not JSON: this comment is not closed: a `*/` is missing"),
        ('{"a": 1} /* b', "line 1, column 10: not JSON: this comment is not closed: a `*/` is missing"),
        ('{"a": [1, /* b\n]}', "line 1, column 11: not JSON: this comment is not closed: a `*/` is missing"),
        ('{\n # b\n "a": 1}', "line 2, column 2: not JSON: a comment begins with `//`, not with `#`"),
        ('{"a": {"b": 1}\n', "line 1, column 1: not JSON: this `{` is not closed: a `}` is missing"),
        ('{\n "a": [1, 2\n', "line 2, column 7: not JSON: this `[` is not closed: a `]` is missing"),
        ('{\n "a": [1}\n', "line 2, column 9: not JSON: the `[` of line 2 is closed by `]`, not by `}`"),
        ('{"a": 1}}', "line 1, column 9: not JSON: this is after the end; is a bracket closed too early?"),
        ('{"a": "x\n}', "line 1, column 7: not JSON: this string is not closed on its line"),
        ('{"a": "x', "line 1, column 7: not JSON: this string is not closed on its line"),
        ('{"a": "C:\\Users"}', "line 1, column 10: not JSON: a backslash in a string is written twice: \\\\"),
        ('{\n "a": 1,\n "a": 2}', "line 3, column 2: key `a` is there twice"),
        ('{"a": {"b": 1, "c": [{"b": 1}, {"b": 1}], "\\u0062": 2}}', "line 1, column 43: key `b` is there twice"),
    ],
)
def test_each_mistake_in_json_has_a_message_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    assert refused(tmp_path, text.encode()) == message
    assert refused(tmp_path, b"\xef\xbb\xbf" + text.encode()) == message


@pytest.mark.parametrize(
    "text", ['{"a": "a:,{", "b": {"a": [{"a": 1}, {"a": 2}]}, "c": ["a", "a"]}', '\ufeff{"a": 1, /* c */ "b": [1, 2,], }']
)
def test_valid_json_with_comments_is_accepted(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(text)
    assert next(iter(content_of(path, ENVIRONMENT))) == "a"


def test_a_file_that_is_not_utf_8_is_refused_with_its_encoding(tmp_path: Path) -> None:
    assert refused(tmp_path, '{"a": 1}'.encode("utf-16")) == "this is UTF-16; save it as UTF-8"
    assert refused(tmp_path, b'{"a": "\xe4"}') == "not UTF-8 at byte 7; save it as UTF-8"


@pytest.mark.parametrize(("given", "hint"), [
    ("sh -c true", "'stdio:sh -c true'"),
    ("sh", "stdio:sh"),
    ("no-such-program mcp-server-time", "'stdio:no-such-program mcp-server-time'"),
    ("python9.9 -m server", "'stdio:python9.9 -m server'"),
    ("/bin/sh server", "'stdio:/bin/sh server'"),
])  # fmt: skip
def test_a_command_line_in_place_of_a_file_is_refused_with_the_uri_to_write(given: str, hint: str) -> None:
    with pytest.raises(ConfigError, match="No such file or directory; to run it as a server, write ") as error:
        content_of(Path(given), ENVIRONMENT)
    assert str(error.value).endswith(hint)


@pytest.mark.parametrize("given", ["my servers.json", "no-such-program", "no/such -x", "mcp.json", "it's", "~/mcp.json"])
def test_any_other_missing_file_is_refused_without_a_hint(given: str) -> None:
    with pytest.raises(ConfigError, match=r"No such file or directory$"):
        content_of(Path(given), ENVIRONMENT)

"""JSON with comments and trailing commas becomes JSON with every character in its place."""

from __future__ import annotations

import json

import pytest

from fabric.config.files.jsonc import plain


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('{"a": 1, // one\n "b": [2, 3,],}', {"a": 1, "b": [2, 3]}),
        ('/* first */ {"a": /* within */ 1 /* last */, /* after */ }', {"a": 1}),
        ('{"url": "http://h/*x*/", "b": "a \\" // c", "c": ",]"}', {"url": "http://h/*x*/", "b": 'a " // c', "c": ",]"}),
        ('{"a": 1, // ends with an odd "\n "b": 2 /* and another " */}', {"a": 1, "b": 2}),
        ("// Zed's settings\r\n{\r\n}\r\n", {}),
        ('{"a": {},\n  // the last\n}', {"a": {}}),
        ('{"a": "b" // no comma', None),
        ("[,]", None),
        ("[1,,]", None),
        ('{"a":,}', None),
        ('{"a": 1} /* not closed', None),
        ('{"a": 1 / 2}', None),
    ],
)
def test_only_comments_and_trailing_commas_are_removed(text: str, meant: object) -> None:
    if meant is None:
        with pytest.raises(json.JSONDecodeError):
            json.loads(plain(text))
    else:
        assert json.loads(plain(text)) == meant


def test_an_error_keeps_its_line_and_column() -> None:
    text = '{\n  // a comment\n  "a": [1, /* two\n  lines */ 2,],  "b" 3}'
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(plain(text))
    line = text.splitlines()[caught.value.lineno - 1]
    assert (caught.value.lineno, line[caught.value.colno - 1 :]) == (4, "3}")


def test_plain_json_of_any_length_stays_unchanged() -> None:
    text = json.dumps({"a": ["x" * 100_000, " , ] } // /* " * 10_000, {}], "b": " " * 100_000}, indent=2)
    assert plain(text) == text

"""Finds the mistake in a text that is not JSON: its place, and what the person who wrote it should do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|[{}\[\]:,]')
_WORD = re.compile(r"[^\s\"'{}\[\]:,]+")
_CLOSING = {"{": "}", "[": "]"}
_PYTHON = {"True": "true", "False": "false", "None": "null"}


def mistake(text: str, error: json.JSONDecodeError) -> tuple[int, str]:
    """The offset of the mistake in the text, and what to do. error: raised by json.loads() for this text."""
    here, rest = error.pos, text[error.pos :]
    if not text.strip():
        return 0, "the file is empty"
    if not rest.strip():
        return _unclosed(text)
    if rest.lstrip().startswith("/*"):
        return text.index("/*", here), "this comment is not closed: a `*/` is missing"
    if rest[0] == "#":
        return here, "a comment begins with `//`, not with `#`"
    if rest[0] == "'":
        return here, "strings are written in double quotes, not in single ones"
    word = _WORD.match(rest)
    match error.msg.removesuffix(" at"):
        case "Expecting ',' delimiter":
            return _no_comma(text, here)
        case "Expecting ':' delimiter":
            return here, "a colon is missing after the key"
        case "Extra data":
            return here, "this is after the end; is a bracket closed too early?"
        case "Invalid control character" | "Unterminated string starting":
            start = text.rfind('"', 0, here) if error.msg.startswith("Invalid") else here
            return start, "this string is not closed on its line"
        case "Invalid \\escape" | "Invalid \\escape: ":
            return here, "a backslash in a string is written twice: \\\\"
        case _ if word and word[0] in _PYTHON:
            return here, f"write `{_PYTHON[word[0]]}`"
        case _ if word:
            return here, f"`{word[0]}` needs double quotes"
        case _ if rest[0] in ",]}:":
            return here, f"something is missing before this `{rest[0]}`"
    return here, error.msg


def repeated(text: str) -> tuple[int, str] | None:
    """The offset and the name of the first key that its object has twice; None if there is none. The text is JSON."""
    objects: list[set[str] | None] = []  # the keys of each object that is open; None for a list
    string: re.Match[str] | None = None
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "{":
                objects.append(set())
            case "[":
                objects.append(None)
            case "}" | "]":
                objects.pop()
            case ":" if string is not None and (keys := objects[-1]) is not None:
                key: str = json.loads(string[0])
                if key in keys:
                    return string.start(), key
                keys.add(key)
        string = token if token[0].startswith('"') else None
    return None


def _no_comma(text: str, here: int) -> tuple[int, str]:
    """The mistake where a value is followed neither by a comma nor by the end of its list or object."""
    opened = list(_open(text, here))
    if text[here] in "]}" and opened:
        start, bracket = opened[-1]
        return here, f"the `{bracket}` of line {_line(text, start)} is closed by `{_CLOSING[bracket]}`, not by `{text[here]}`"
    before = len(text[:here].rstrip())
    return before, "a comma is missing here"


def _unclosed(text: str) -> tuple[int, str]:
    opened = list(_open(text, len(text)))
    if not opened:
        return len(text.rstrip()), "something is missing at the end"
    start, bracket = opened[-1]
    return start, f"this `{bracket}` is not closed: a `{_CLOSING[bracket]}` is missing"


def _open(text: str, end: int) -> Iterator[tuple[int, str]]:
    """The brackets that are open at `end`, the outermost first, with their offsets."""
    opened: list[tuple[int, str]] = []
    for token in _TOKEN.finditer(text, 0, end):
        if token[0] in _CLOSING:
            opened.append((token.start(), token[0]))
        elif token[0] in "]}" and opened:
            opened.pop()
    yield from opened


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1

"""Replaces comments and trailing commas, which the settings files of editors have, by spaces, so that JSON remains.

Thus the errors of json.loads() have the line and column of the file.
"""

from __future__ import annotations

import re

# Strings come first: `//` within one is no comment. A string that is not closed ends with its line, for json.loads() to refuse.
_STRING = r'"(?:[^"\\\n]|\\.)*"?'
_COMMENT = re.compile(rf"{_STRING}|//[^\n\r]*|/\*.*?\*/", re.DOTALL)
_COMMA = re.compile(rf"{_STRING}|(?<=[^\s,:\[{{])\s*,(?=\s*[]}}])")


def plain(text: str) -> str:
    """The text with a space for each character of a comment and for each trailing comma. Other mistakes stay."""
    return _COMMA.sub(_blank_comma, _COMMENT.sub(_blank_comment, text))


def _blank_comment(match: re.Match[str]) -> str:
    return re.sub(r"[^\n\r]", " ", match[0]) if match[0].startswith("/") else match[0]


def _blank_comma(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith('"') else f"{match[0][:-1]} "

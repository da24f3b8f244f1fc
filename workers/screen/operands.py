"""Quotes names and arguments for a command that a person can type, so that none of them is taken for an option. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def operands(words: Sequence[str], option: str = "") -> str:
    """The words, quoted, with the option behind them, or in front of the `--` that a word with a leading dash needs."""
    named = shlex.join(words)
    dashed = any(word.startswith("-") for word in words)
    return " ".join(filter(None, [option, "--", named] if dashed else [named, option]))


def is_plain(*words: str) -> bool:
    """Whether the words need neither quotes nor `--`."""
    return operands(words) == " ".join(words)

"""Names and arguments in a command that a person can type: quoted for a shell, and none of them taken for an option. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def operands(words: Sequence[str], option: str = "") -> str:
    """The words, and the option where it is still read as one: behind them, or before the `--` that a dash makes necessary."""
    named = shlex.join(words)
    dashed = any(word.startswith("-") for word in words)
    return " ".join(filter(None, [option, "--", named] if dashed else [named, option]))


def is_plain(*words: str) -> bool:
    """Whether the words need neither quotes nor `--`."""
    return operands(words) == " ".join(words)

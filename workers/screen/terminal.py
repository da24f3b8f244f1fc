"""Prints lines for people on stderr, in colour where a terminal has colours, and a moving line while work is under way.

Where stderr is no terminal, lines are plain and none moves. NO_COLOR and TERM=dumb are respected.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console  # its import takes time that only a terminal is worth

Span = tuple[str, str]
"""A part of a line: its text, and its style on a terminal, a colour or `bold`, empty for none."""

Line = Sequence[Span]


def say(*lines: Line, result: bool = False) -> None:
    """Print lines on stderr. result: they are the result of the command, and go to stdout."""
    stream = sys.stdout if result else sys.stderr
    lines = tuple([(harmless(text), style) for text, style in line] for line in lines)  # some quote a server
    if not (can_move() and stream.isatty()):
        print("\n".join("".join(text for text, _ in line) for line in lines), file=stream, flush=True)
        return
    from rich.text import Text

    _console().print(Text("\n").join(Text.assemble(*line) for line in lines), soft_wrap=True)  # one terminal shows both streams


def complain(message: str) -> None:
    """Print a line that says what is wrong, on stderr."""
    say([(f"mcp-fabric: {message}", "")])


@contextmanager
def moving() -> Iterator[Callable[[str], None]]:
    """A line at the end of the screen, until this ends; call the function with each new text for it."""
    if not can_move():
        yield lambda _: None
        return
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    plain, spinner = sys.stderr, Spinner("dots", style="status.spinner")
    live = Live(spinner, console=_console(), transient=True, refresh_per_second=10, redirect_stdout=sys.stdout.isatty())
    with live, _logs(plain, sys.stderr):  # sys.stderr is now one that writes above the moving line
        yield lambda text: spinner.update(text=Text(harmless(text)))


@contextmanager
def _logs(plain: TextIO, above: TextIO) -> Iterator[None]:
    """Send logs that go to `plain` to `above` instead, while the block runs."""
    handlers = [each for each in logging.root.handlers if isinstance(each, logging.StreamHandler) and each.stream is plain]
    for handler in handlers:
        handler.setStream(above)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(plain)


def can_move() -> bool:
    """Whether stderr is a terminal on which a line can move."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@cache
def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def harmless(text: str) -> str:
    """A text of foreign origin, without the control characters that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in text)

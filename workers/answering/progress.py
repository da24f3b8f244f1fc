"""Shows the notifications of a server during a call on stderr: its progress, in a moving line on a terminal, and its log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from workers.screen.terminal import can_move, moving, say
from workers.tools.shape import as_json

BETWEEN_LINES = 1.0
"""Seconds between two lines of progress where no line can move."""

_COLOURS = {"warning": "yellow", "error": "bold red", "critical": "bold red", "alert": "bold red", "emergency": "bold red"}


class ServerProgress:
    """Shows notifications as long as one call takes."""

    def __init__(self) -> None:
        self._moving = ExitStack()
        self._show: Callable[[str], None] | None = None
        self._last = ""
        self._next_line = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.pause()

    def on_notification(self, method: str, params: Mapping[str, Any]) -> None:
        """Show a notification of the server."""
        if method == "notifications/progress":
            self._progress(params)
        elif method == "notifications/message":
            level, logger = params.get("level"), params.get("logger")
            data = params.get("data")
            where = f"{level} {logger}" if isinstance(logger, str) and logger else f"{level}"
            colour = _COLOURS.get(level, "") if isinstance(level, str) else ""
            say([(f"[{where}] ", colour), (data if isinstance(data, str) else as_json(data), "")])

    def tell(self, text: str) -> None:
        """Print a line that stays."""
        self.pause()
        say([(text, "")])

    def pause(self) -> None:
        """Take the moving line away until there is progress again."""
        self._moving.close()
        self._show = None

    def _progress(self, params: Mapping[str, Any]) -> None:
        progress, total, message = (params.get(key) for key in ("progress", "total", "message"))
        text = f"{_number(progress)} of {_number(total)}" if total is not None else _number(progress)
        text = f"{text}: {message}" if message else text
        if text == self._last:
            return
        self._last = text
        if not can_move():
            if progress == total or time.monotonic() >= self._next_line:
                self._next_line = time.monotonic() + BETWEEN_LINES
                say([(text, "")])
            return
        if self._show is None:
            self._show = self._moving.enter_context(moving())
        self._show(text)


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else f"{value}"

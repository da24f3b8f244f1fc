"""Logs the lines of a server that are no messages: so many in a second, and the number of the others."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from fabric.links.stdio.server import LAST_LINES, last_words

log = logging.getLogger("mcp-fabric")

_WINDOW = 1.0  # seconds
_EMPTY = 100  # lines in a second that are not worth a log line
_NOISE_BYTES = 200  # shown of a line on stdout


class ServerLog:
    """The log of one server, for all its processes. rate: lines logged in a second, of stderr and stdout together."""

    def __init__(self, server: str, rate: int) -> None:
        self._server, self._rate = server, rate
        self._room = rate
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._more = {logging.DEBUG: 0, logging.WARNING: 0}
        self._empty = 0
        self._window: asyncio.TimerHandle | None = None

    def stderr(self, child: str, lines: Sequence[str], more: int) -> None:
        """A process wrote these lines to stderr. more: how many others it wrote."""
        self._last.extend(lines[-LAST_LINES:])
        if log.isEnabledFor(logging.DEBUG):
            self._log(logging.DEBUG, "[%s] %s", child, lines, more)

    def noise(self, child: str, line: bytes) -> None:
        """A process wrote this line to stdout, where only messages belong."""
        self._log(logging.WARNING, "[%s] not a JSON-RPC message on stdout, skipped: %r", child, [line[:_NOISE_BYTES]], 0)

    def empty(self, count: int) -> None:
        """A process wrote so many empty lines to stdout. Some servers do so by habit; the number of many is logged."""
        self._empty += count
        self._begin()

    @property
    def counting(self) -> bool:
        """Whether a second is under way whose number of lines is still to be logged."""
        return self._window is not None

    def last_words(self) -> str:
        """The last lines on stderr, logged or not, as the end of a sentence."""
        return last_words(self._last)

    def _log(self, level: int, form: str, child: str, lines: Sequence[str | bytes], more: int) -> None:
        for line in lines[: self._room]:
            log.log(level, form, child, line, extra={"server": self._server, "child": child})
        logged = min(self._room, len(lines))
        self._room -= logged
        self._more[level] += len(lines) - logged + more
        self._begin()

    def _begin(self) -> None:
        if self._window is None:
            self._window = asyncio.get_running_loop().call_later(_WINDOW, self._over)

    def _over(self) -> None:
        self._window = None
        self._room = self._rate
        if self._empty > _EMPTY:
            self._more[logging.WARNING] += self._empty
        self._empty = 0
        for level, more in self._more.items():
            if more:
                where = "stderr" if level == logging.DEBUG else "stdout that are no JSON-RPC messages"
                form, about = "[%s] %d more lines on %s are not logged (maxLogLines)", {"server": self._server}
                log.log(level, form, self._server, more, where, extra=about)
                self._more[level] = 0

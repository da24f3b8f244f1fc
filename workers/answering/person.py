"""The person at the terminal: questions go to stderr, answers come line by line from stdin; the event loop is not blocked."""

from __future__ import annotations

import asyncio
import os
import sys

from workers.screen.terminal import harmless

_LONGEST_LINE_BYTES = 65536


class NoAnswer(Exception):
    """The person ended the input (Ctrl-D)."""


class Person:
    """One person. Control characters, which a terminal would obey, are replaced in all that is printed."""

    @staticmethod
    def present() -> bool:
        """Whether stdin and stderr are terminals, so that a person can read a question and answer it."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def tell(self, text: str) -> None:
        """Write a line."""
        print(harmless(text), file=sys.stderr, flush=True)

    async def ask(self, question: str) -> str:
        """The typed answer, a line without blanks around it. Raises NoAnswer."""
        sys.stderr.write(f"{harmless(question)}: ")
        sys.stderr.flush()
        line = await self._line()
        if not line:
            self.tell("")
            raise NoAnswer
        return line.decode(errors="replace").strip()

    async def _line(self) -> bytes:
        """Read a line, which a terminal gives whole. No thread reads it: Ctrl-C could not end that thread."""
        loop, file = asyncio.get_running_loop(), sys.stdin.fileno()
        readable = asyncio.Event()
        loop.add_reader(file, readable.set)
        try:
            await readable.wait()
            return os.read(file, _LONGEST_LINE_BYTES)
        finally:
            loop.remove_reader(file)

"""Whoever sits at the terminal: asked on stderr, answering on stdin a line at a time, while the event loop goes on."""

from __future__ import annotations

import asyncio
import os
import sys

from workers.terminal import harmless

_LONGEST_LINE_BYTES = 65536


class NoAnswer(Exception):
    """The person ended the input (Ctrl-D)."""


class Person:
    """One person. What is written to them holds nothing that a terminal would obey."""

    @staticmethod
    def present() -> bool:
        """Whether somebody can read what we ask, and answer."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def tell(self, text: str) -> None:
        """Write a line."""
        print(harmless(text), file=sys.stderr, flush=True)

    async def ask(self, question: str) -> str:
        """The line that is typed for an answer, without blanks around it. Raises NoAnswer."""
        sys.stderr.write(f"{harmless(question)}: ")
        sys.stderr.flush()
        line = await self._line()
        if not line:
            self.tell("")
            raise NoAnswer
        return line.decode(errors="replace").strip()

    async def _line(self) -> bytes:
        """A terminal gives a whole line at a time; a thread that reads could not be ended by Ctrl-C."""
        loop, file = asyncio.get_running_loop(), sys.stdin.fileno()
        readable = asyncio.Event()
        loop.add_reader(file, readable.set)
        try:
            await readable.wait()
            return os.read(file, _LONGEST_LINE_BYTES)
        finally:
            loop.remove_reader(file)

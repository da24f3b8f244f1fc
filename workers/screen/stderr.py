"""A stderr that a thread writes, so that the event loop never waits for a slow reader."""

from __future__ import annotations

import atexit
import io
import os
import queue
import select
import sys
import threading
from collections.abc import Callable
from typing import TextIO

WAITING_WRITES = 2_000
"""Lines, or blocks of lines, that may wait for a reader; more are dropped and counted."""

FLUSH_TIMEOUT = 1.0
"""Seconds that waiting lines have to be written when the process ends."""


class Stderr(io.TextIOBase):
    """Takes the place of `stream`, which has a descriptor: complete lines are queued, and a thread writes them.

    dropped: makes the line that says how many writes were dropped, once there is room again. Any thread may write.
    """

    def __init__(self, stream: TextIO, dropped: Callable[[int], str]) -> None:
        self._stream, self._fd = stream, stream.fileno()
        self._say_dropped = dropped
        self._lock = threading.Lock()
        self._line = ""  # incomplete, and not flushed yet
        self._dropped = 0
        self._waiting: queue.Queue[str] = queue.Queue(WAITING_WRITES)
        # A daemon, which writes to the descriptor and holds no lock meanwhile: a process ends although nobody reads.
        threading.Thread(target=self._run, name="stderr", daemon=True).start()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has an attribute, CPython's own streams have properties
        """The stream's encoding."""
        return self._stream.encoding

    def fileno(self) -> int:
        """The stream's descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def writable(self) -> bool:
        """Always True."""
        return True

    def write(self, text: str) -> int:
        """Queue the text up to its last newline; the rest waits for a newline or a flush. Never blocks."""
        with self._lock:
            self._line += text
            if "\n" in text:
                self._queue()
        return len(text)

    def flush(self) -> None:
        """Queue an incomplete line. Does not wait until it is written; `drain` does."""
        with self._lock:
            self._queue()

    def drain(self, timeout: float) -> None:
        """Wait until all is written, at most `timeout` seconds."""
        self.flush()
        with self._waiting.all_tasks_done:
            self._waiting.all_tasks_done.wait_for(lambda: not self._waiting.unfinished_tasks, timeout)

    def _queue(self) -> None:
        line, self._line = self._line, ""
        if line:
            try:
                self._waiting.put_nowait(line)
            except queue.Full:
                self._dropped += 1

    def _run(self) -> None:
        while True:
            self._write(self._waiting.get())
            if self._dropped and self._waiting.qsize() < WAITING_WRITES // 2:
                with self._lock:
                    count, self._dropped = self._dropped, 0
                self._write(self._say_dropped(count))
            self._waiting.task_done()

    def _write(self, text: str) -> None:
        data = memoryview(text.encode(self._stream.encoding, self._stream.errors or "strict"))
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # another process that has the descriptor, too, made it so
                select.select([], [self._fd], [])
            except OSError:
                return  # nobody will ever read it


def detach_stderr(dropped: Callable[[int], str]) -> None:
    """Replace `sys.stderr` with one that a thread writes. At exit, waiting lines are written for at most FLUSH_TIMEOUT."""
    if sys.stderr is None or isinstance(sys.stderr, Stderr):
        return
    stderr = Stderr(sys.stderr, dropped)
    sys.stderr = stderr
    atexit.register(stderr.drain, FLUSH_TIMEOUT)

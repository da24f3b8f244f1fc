"""A real mcp-fabric command on a real pseudo-terminal: a test waits for text on its screen, and types lines."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.fabrics import PROGRAM, ROOT, fabric_env


class Terminal:
    """`mcp-fabric` with a terminal for stdin and stderr; its stdout is a pipe, as in `mcp-fabric call ... > file`."""

    def __init__(self, *arguments: str | Path, state: Path, timeout: float = 60.0) -> None:
        self._mine, theirs = pty.openpty()
        self._deadline = time.monotonic() + timeout
        self.screen = ""
        self._seen = 0
        self._child = subprocess.Popen(
            [str(word) for word in (PROGRAM, *arguments)],
            cwd=ROOT,
            env={**fabric_env(state), "TERM": "xterm", "COLUMNS": "200"},
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C is a signal
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._child.kill()
        self._child.communicate(timeout=40)
        os.close(self._mine)

    def wait_for(self, text: str) -> None:
        """Wait until this text is on the screen, after the text of the last wait."""
        while (position := self.screen.find(text, self._seen)) < 0:
            assert self._more(), f"{text!r} is not on the screen:\n{self.screen}"
        self._seen = position + len(text)

    def type(self, line: str, end: str = "\n") -> None:
        """Type a line."""
        os.write(self._mine, (line + end).encode())

    def end(self) -> tuple[int, str]:
        """Wait until the command ends; its exit code, and its stdout."""
        while self._more():
            pass
        out, _ = self._child.communicate(timeout=max(1.0, self._deadline - time.monotonic()))
        return self._child.returncode, out.decode()

    def _more(self) -> bool:
        """Read more; False at the end or when the time is over."""
        if not select.select([self._mine], [], [], max(0.0, self._deadline - time.monotonic()))[0]:
            return False
        with suppress(OSError):  # raised by Linux once no process holds the other end
            data = os.read(self._mine, 65536)
            self.screen += data.decode(errors="replace").replace("\r", "")
            return bool(data)
        return False

"""Prepares the standard streams for every command: open, able to show any text. A failed write to stdout raises StdoutLost."""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

ESCAPED = "mcp-fabric-escaped"
"""The error handler for characters that a stream cannot show: it writes \\uXXXX, which leaves JSON the same JSON."""

_MODES = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)


class StdoutLost(Exception):
    """The output of a command cannot be written."""

    def __init__(self, error: OSError) -> None:
        closed = error.errno == errno.EBADF
        super().__init__(f"cannot write: {'stdout is closed' if closed else error.strerror}")
        self.reader_left = error.errno == errno.EPIPE
        """Whether its reader has closed the pipe, as `| head` does."""


class _Stdout(io.FileIO):
    """Descriptor 1, which another process that has it, too, may have made non-blocking."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            while (count := super().write(data)) is None:
                select.select([], [self], [])
        except OSError as error:
            raise StdoutLost(error) from None
        return count


def prepare() -> None:
    """Prepare the three streams, before anything is read or printed.

    A stream that our parent has closed is opened on /dev/null, stdin for writing and stdout for reading, so that using them
    still fails. Left closed, its descriptor would be given to the event loop, which would break.
    """
    for fd, mode in enumerate(_MODES):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free
    codecs.register_error(ESCAPED, _escaped)
    sys.stdin = sys.stdin or _null_stream("r")
    sys.stderr = sys.stderr or _null_stream("w")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors=ESCAPED)
    raw = _Stdout(1, "w", closefd=False)
    unbuffered = isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.write_through  # python -u
    sys.stdout = io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        encoding=sys.stdout.encoding if sys.stdout is not None else "utf-8",
        errors=ESCAPED,
        line_buffering=raw.isatty(),
        write_through=unbuffered,
    )


def drop_stdout() -> None:
    """Discard what has not been written yet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _null_stream(mode: str) -> TextIO:
    return Path(os.devnull).open(mode, encoding="utf-8")  # type: ignore[return-value]  # its type depends on the mode


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101 - the handler is for writing only
    wide = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{wide[at]:02x}{wide[at + 1]:02x}" for at in range(0, len(wide), 2)), error.end

"""Prepares the standard streams for every command: open, able to show any text; a failure of stdout raises StdoutLost."""

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
"""The error handler for characters that a stream cannot show: \\uXXXX, by which JSON stays the same JSON."""

_MODES = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)


class StdoutLost(Exception):
    """The output of a command cannot be written. reader_left: its reader has gone, as with `| head`."""

    def __init__(self, error: OSError) -> None:
        closed = error.errno == errno.EBADF
        super().__init__(f"cannot write: {'stdout is closed' if closed else error.strerror}")
        self.reader_left = error.errno == errno.EPIPE


class _Stdout(io.FileIO):
    """Descriptor 1. Another process that has it, too, may have made it non-blocking."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            while (count := super().write(data)) is None:
                select.select([], [self], [])
        except OSError as error:
            raise StdoutLost(error) from None
        return count


def prepare() -> None:
    """Make them so, before anything is read or printed.

    A stream that whoever started us has closed becomes one of nobody, on which using it still fails: else the event loop would
    get its number, and die of it.
    """
    for fd, mode in enumerate(_MODES):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free
    codecs.register_error(ESCAPED, _escaped)
    sys.stdin = sys.stdin or _nobody("r")
    sys.stderr = sys.stderr or _nobody("w")
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
    """Let what was not written yet go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _nobody(mode: str) -> TextIO:
    return Path(os.devnull).open(mode, encoding="utf-8")  # type: ignore[return-value]  # its type depends on the mode


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101 - nothing is read by it
    wide = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{wide[at]:02x}{wide[at + 1]:02x}" for at in range(0, len(wide), 2)), error.end

"""Newline framing, for MCP's stdio transport and for raw sockets: splits a byte stream into lines, within a bound. Pure."""

from __future__ import annotations

from fabric.errors import LinkOverflow

HEAD_BYTES = 1024
"""How many bytes of a skipped line its error holds: enough to see which request the line answers."""

FLOOD_LINES = 64
"""The most lines of a log that are kept of those that arrive at once."""

_FLOOD_END = 16  # how many of the kept lines are the last ones


class LineDecoder:
    """Splits a byte stream into lines. Its work is linear in the bytes fed, in whatever pieces; it holds one line in memory.

    A line ends with LF or CRLF and is returned without it; empty lines are dropped. A line longer than `max_frame_bytes`
    yields one LinkOverflow as soon as that is certain, and the rest of it is skipped. Lines come in order.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_bytes = max_frame_bytes
        self._partial = bytearray()
        self._skipping = False
        self.empty = 0
        """How many empty lines were dropped."""

    def feed(self, data: bytes) -> list[bytes | LinkOverflow]:
        """The lines that `data` completes."""
        if b"\n\n" in data or b"\n\r\n" in data:
            data = self._without_empty(data)
        *lines, rest = data.split(b"\n")
        complete: list[bytes | LinkOverflow] = []
        if lines and (self._partial or self._skipping):
            self._extend(lines[0], complete)
            lines[0] = bytes(self._partial)
            self._partial.clear()
            self._skipping = False
        for line in (ended.removesuffix(b"\r") for ended in lines):
            if len(line) > self._max_bytes:
                complete.append(self._overflow(line))
            elif line:
                complete.append(line)
        if rest:
            self._extend(rest, complete)
        return complete

    def end(self) -> list[bytes | LinkOverflow]:
        """The lines that the end of the stream completes: a last line without its newline, if there is one."""
        return self.feed(b"\n")

    def _without_empty(self, data: bytes) -> bytes:
        """The data without its empty lines, but perhaps the first: a flood of them costs next to nothing."""
        count = data.count(b"\n")
        if not data.strip(b"\r\n"):
            data = b"\n"
        data = data.replace(b"\r\n", b"\n")
        while b"\n\n" in data:
            data = data.replace(b"\n\n", b"\n")
        self.empty += count - data.count(b"\n")
        return data

    def _extend(self, piece: bytes, complete: list[bytes | LinkOverflow]) -> None:
        if not self._skipping:
            self._partial += piece
            if len(self._partial) > self._max_bytes + 1:  # one more than the limit may be the CR of a CRLF
                complete.append(self._overflow(self._partial))
                self._partial.clear()
                self._skipping = True

    def _overflow(self, line: bytes | bytearray) -> LinkOverflow:
        reason = f"a line is longer than the limit of {self._max_bytes} bytes (maxFrameBytes); it is skipped"
        return LinkOverflow(reason, head=bytes(line[:HEAD_BYTES]))


class TextDecoder:
    """Splits a log stream into lines of text. A line is cut off after `max_line_bytes`; invalid UTF-8 is replaced."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max_bytes = max_line_bytes
        self._partial = b""

    def feed(self, data: bytes) -> tuple[list[str], int]:
        """The lines that `data` completes, without newlines and empty lines; and how many lines were left out.

        If more than FLOOD_LINES arrive at once, the middle ones are left out, and cost next to nothing.
        """
        *pieces, rest = data.split(b"\n")
        more = max(0, len(pieces) - FLOOD_LINES)
        if more:
            pieces[FLOOD_LINES - _FLOOD_END : -_FLOOD_END] = []
        lines = []
        for piece in pieces:
            line = (self._partial + piece[: self._max_bytes - len(self._partial)]).decode(errors="replace").rstrip()
            self._partial = b""
            if line:
                lines.append(line)
        self._partial += rest[: self._max_bytes - len(self._partial)]
        return lines, more

    def end(self) -> list[str]:
        """The last line, if it has no newline."""
        return self.feed(b"\n")[0]


def one_line(frame: bytes) -> bytes:
    """The frame without raw newlines, which newline framing cannot carry.

    A valid JSON string holds no raw CR or LF, so any that occurs is white space, and a space means the same.
    """
    if b"\n" in frame or b"\r" in frame:
        return frame.replace(b"\n", b" ").replace(b"\r", b" ")
    return frame


def lines(frames: list[bytes]) -> bytes:
    """The bytes of these frames, each with a newline behind it. None of them may hold a raw newline."""
    return b"\n".join([*frames, b""])

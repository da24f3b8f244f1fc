"""Newline framing, pure: bytes in as they come, whole lines out, within a bound (MCP's stdio transport, and raw sockets)."""

from __future__ import annotations

from fabric.errors import LinkOverflow

HEAD_BYTES = 1024
"""How much of a skipped line its error shows: enough to see which request it answers."""

FLOOD_LINES = 64
"""Lines of a log that arrive at once and that anybody may want to read."""

_FLOOD_END = 16  # of those, how many are the last


class LineDecoder:
    """Cuts a byte stream into lines. Work is linear in the bytes fed, however they are cut; memory is one line.

    A line ends with LF or CRLF and is yielded without it; empty lines are dropped. A line longer than `max_frame_bytes`
    yields one LinkOverflow as soon as that is certain, and the rest of it is skipped. Lines come in order.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_bytes = max_frame_bytes
        self._partial = bytearray()
        self._skipping = False
        self.empty = 0  # lines that were dropped

    def feed(self, data: bytes) -> list[bytes | LinkOverflow]:
        """The lines that `data` completes."""
        if b"\n\n" in data or b"\n\r\n" in data:
            data = self._without_empty(data)
        *lines, rest = data.split(b"\n")
        found: list[bytes | LinkOverflow] = []
        if lines and (self._partial or self._skipping):
            self._extend(lines[0], found)
            lines[0] = bytes(self._partial)
            self._partial.clear()
            self._skipping = False
        for line in (ended.removesuffix(b"\r") for ended in lines):
            if len(line) > self._max_bytes:
                found.append(self._overflow(line))
            elif line:
                found.append(line)
        if rest:
            self._extend(rest, found)
        return found

    def end(self) -> list[bytes | LinkOverflow]:
        """What the end of the stream completes: a last line without its newline."""
        return self.feed(b"\n")

    def _without_empty(self, data: bytes) -> bytes:
        """The same with no empty line but perhaps the first: a flood of them costs next to nothing."""
        count = data.count(b"\n")
        if not data.strip(b"\r\n"):
            data = b"\n"
        data = data.replace(b"\r\n", b"\n")
        while b"\n\n" in data:
            data = data.replace(b"\n\n", b"\n")
        self.empty += count - data.count(b"\n")
        return data

    def _extend(self, piece: bytes, found: list[bytes | LinkOverflow]) -> None:
        if not self._skipping:
            self._partial += piece
            if len(self._partial) > self._max_bytes + 1:  # one more than the limit may be the CR of a CRLF
                found.append(self._overflow(self._partial))
                self._partial.clear()
                self._skipping = True

    def _overflow(self, line: bytes | bytearray) -> LinkOverflow:
        reason = f"a line is longer than the limit of {self._max_bytes} bytes (maxFrameBytes); it is skipped"
        return LinkOverflow(reason, head=bytes(line[:HEAD_BYTES]))


class TextDecoder:
    """Cuts a log stream into lines of text for people: what goes over `max_line_bytes` is cut off, bad UTF-8 is replaced."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max_bytes = max_line_bytes
        self._partial = b""

    def feed(self, data: bytes) -> tuple[list[str], int]:
        """The lines that `data` completes, without their ends or empty ones, and how many of a flood were left out.

        Of more than FLOOD_LINES the middle is left out, and costs next to nothing.
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
        """A last line without its newline."""
        return self.feed(b"\n")[0]


def one_line(frame: bytes) -> bytes:
    """The frame without raw newlines, which newline framing cannot carry.

    A valid JSON string holds no raw CR or LF, so where they occur they are whitespace, and a space says the same.
    """
    if b"\n" in frame or b"\r" in frame:
        return frame.replace(b"\n", b" ").replace(b"\r", b" ")
    return frame


def lines(frames: list[bytes]) -> bytes:
    """Frames without raw newlines as the bytes of their lines."""
    return b"\n".join([*frames, b""])

"""Writes and reads Server-Sent Events (HTML standard, "server-sent events") as MCP's event streams use them. Pure."""

from __future__ import annotations

import msgspec

from fabric.errors import LinkOverflow
from fabric.links.framing import HEAD_BYTES

COMMENT = b":\n\n"
"""A comment without text: it opens a stream, and keeps proxies from closing a silent one."""

_RETRY = b"retry: 1000\n"  # milliseconds before a client reconnects; sent once, in the event that primes it for that
_FIELD_BYTES = 64  # how many bytes a line may have besides its data


def encode_event(frame: bytes, id: str = "") -> bytes:
    """One event that carries `frame`. Without a frame it is a comment, or with an id the event that primes reconnection."""
    if not frame:
        return b"id: " + id.encode() + b"\n" + _RETRY + b"data:\n\n" if id else COMMENT
    if b"\n" in frame or b"\r" in frame:  # outside a string a line break is white space in JSON, but ends a field here
        frame = b"\ndata: ".join(frame.splitlines())
    return b"id: " + id.encode() + b"\ndata: " + frame + b"\n\n" if id else b"data: " + frame + b"\n\n"


class ServerEvent(msgspec.Struct, frozen=True, gc=False):
    """One event that was read."""

    kind: str
    """The event's type: `message` unless the server named another."""
    data: bytes
    """The event's data lines, joined by LF."""


class EventDecoder:
    """Splits a byte stream into events. It holds one event in memory.

    An event with more than `max_data_bytes` of data is skipped, and yields one LinkOverflow instead.
    """

    def __init__(self, max_data_bytes: int) -> None:
        self.last_id = ""
        """The id of the last complete event, to resume after; empty for none."""
        self.retry: float | None = None
        """Seconds that the server asks to wait before the stream is opened again; None if it does not ask."""
        self._max_bytes = max_data_bytes
        self._partial = bytearray()  # a line whose end has not arrived
        self._after_cr = False
        self._kind = ""
        self._id = ""
        self._data: list[bytes] = []
        self._bytes = 0
        self._skipping = False

    def feed(self, chunk: bytes) -> list[ServerEvent | LinkOverflow]:
        """The events that `chunk` completes."""
        if self._after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]  # the second half of a CRLF
        if not chunk:
            return []
        self._after_cr = chunk[-1:] == b"\r"
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = chunk.split(b"\n")
        events: list[ServerEvent | LinkOverflow] = []
        if lines and self._partial:
            self._partial += lines[0]
            lines[0] = bytes(self._partial)
            self._partial.clear()
        for line in lines:
            self._line(line, events)
        if rest:
            self._partial += rest
            if len(self._partial) > self._max_bytes + _FIELD_BYTES:
                self._skip(bytes(self._partial[:HEAD_BYTES]).partition(b":")[2].lstrip(), events)
                del self._partial[1:]  # one byte is enough to know that the line is not empty
        return events

    def reopen(self) -> None:
        """Go on with the bytes of a new connection: an event that the old one cut off is dropped."""
        self._partial.clear()
        self._after_cr = False
        self._id = self.last_id
        self._begin()

    def _line(self, line: bytes, events: list[ServerEvent | LinkOverflow]) -> None:
        if not line:
            self._dispatch(events)
            return
        name, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._bytes += len(value) + 1
            if self._bytes > self._max_bytes + 1:
                self._skip(self._data[0] if self._data else value, events)
            elif not self._skipping:
                self._data.append(value)
        elif name == b"event":
            self._kind = value.decode(errors="replace")
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit():
            self.retry = int(value[:9]) / 1000

    def _skip(self, head: bytes, events: list[ServerEvent | LinkOverflow]) -> None:
        if not self._skipping:
            reason = f"an event is longer than the limit of {self._max_bytes} bytes (maxFrameBytes); it is skipped"
            events.append(LinkOverflow(reason, head=head[:HEAD_BYTES]))
        self._skipping = True
        self._data.clear()

    def _dispatch(self, events: list[ServerEvent | LinkOverflow]) -> None:
        self.last_id = self._id
        if self._data and not self._skipping and any(self._data):
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append(ServerEvent(self._kind or "message", data))
        self._begin()

    def _begin(self) -> None:
        self._kind, self._bytes, self._skipping = "", 0, False
        self._data.clear()

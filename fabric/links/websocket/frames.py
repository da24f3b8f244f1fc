"""Reads and writes RFC 6455 frames: a peer's bytes become whole text messages, within a bound, and messages become bytes. Pure.

No library does what a link needs: skip a message that is too long and go on, and write all messages of one turn at once. The
`websockets` package does the parts that are slow in Python or intricate: masks and permessage-deflate (RFC 7692). docs/adr/0010
has the figures.
"""

from __future__ import annotations

import os

import msgspec
from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions import Extension
from websockets.frames import Frame, Opcode, apply_mask  # type: ignore[attr-defined]  # the mask's fastest form is not re-exported

from fabric.errors import LinkOverflow
from fabric.links.framing import HEAD_BYTES

NORMAL, GOING_AWAY, PROTOCOL_ERROR, UNSUPPORTED, NO_CODE, INVALID_DATA, TOO_BIG = 1000, 1001, 1002, 1003, 1005, 1007, 1009
"""Close codes (RFC 6455 7.4.1). NO_CODE stands for a closing frame without a code."""

_FINAL, _RESERVED, _DEFLATED, _MASKED = 0x80, 0x70, 0x40, 0x80
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_WHOLE_TEXT = _FINAL | _TEXT
_SHORT = 125  # the length of a longer payload is in extra bytes; control frames are never longer
_KEPT = 4096  # an unfinished frame up to this length waits as it is, a longer one is read piece by piece
_SENDABLE = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}


class Close(msgspec.Struct, frozen=True):
    """Why a WebSocket ends: a code and a few words."""

    code: int
    """The close code (RFC 6455 7.4)."""
    reason: str = ""
    """The reason, for people."""


class FrameReader:
    """Reads a peer's frames. Work is linear in the bytes fed, in whatever pieces; memory is about two messages.

    A message over the limit is skipped. With compression it is a fault, because the messages behind it could not be inflated.
    """

    def __init__(self, max_frame_bytes: int, *, masked: bool, deflate: Extension | None = None) -> None:
        """masked: the peer is a client. deflate: the negotiated compression."""
        self.closed: Close | None = None
        """The peer's closing frame. After it nothing more is read."""
        self.fault: Close | None = None
        """How the peer broke the rules. After a fault nothing more is read."""
        self.ping: bytes | None = None
        """The payload of the newest ping, until the caller has answered it."""
        self._max_bytes = max_frame_bytes
        self._masked = masked
        self._deflate = deflate
        self._rest = b""  # an unfinished short frame
        self._missing = 0  # bytes that an unfinished long frame lacks
        self._first, self._key = 0, b""  # first byte and mask of that frame
        self._pieces: list[bytes] = []
        self._message: bytearray | None = None  # the fragments of a message so far
        self._size = 0  # their length
        self._head: bytes | None = None  # the beginning of a message that is too long

    @property
    def over(self) -> bool:
        """Whether nothing more is read."""
        return self.closed is not None or self.fault is not None

    def feed(self, data: bytes) -> list[bytes | LinkOverflow]:
        """The messages that `data` completes, in order; a LinkOverflow in the place of one that was too long."""
        messages: list[bytes | LinkOverflow] = []
        if self._missing:
            taken = self._missing
            self._take(data[:taken], messages)
            data = data[taken:]
        if self._rest:
            data, self._rest = self._rest + data, b""
        position, end, masked = 0, len(data), self._masked
        while end - position > 1 and not self.over:
            first, length, start, key = data[position], data[position + 1], position + 2, b""
            if masked:
                length ^= _MASKED
            if length > _SHORT:
                if length >= _MASKED:
                    self._fail(PROTOCOL_ERROR, "a client masks its frames, a server does not")
                    break
                start += 2 if length == 126 else 8
                if start > end:
                    break
                length = int.from_bytes(data[position + 2 : start])
            if masked:
                start += 4
                if start > end:
                    break
                key = data[start - 4 : start]
            plain = first == _WHOLE_TEXT and self._message is None and length <= self._max_bytes
            if not plain and not self._admit(first, length):
                break
            stop = start + length
            if stop > end and length <= _KEPT:
                break
            if not plain and self._size + length > self._max_bytes and first & 0x0F <= _TEXT and self._head is None:
                self._head, self._message = bytes(self._message or b"")[:HEAD_BYTES], bytearray()
            if stop > end:
                self._first, self._key, self._missing = first, key, length
                self._take(data[start:], messages)
                position = end
                break
            position = stop
            payload = data[start:stop]
            if masked:
                payload = apply_mask(payload, key)
            if plain:
                self._complete(payload, messages)
            else:
                self._frame(first, payload, messages)
        if position < end and not self.over:
            self._rest = data[position:]
        return messages

    def _admit(self, first: int, length: int) -> bool:
        """Whether a frame may have this first byte and this length; if not, set the fault."""
        opcode, open = first & 0x0F, self._message is not None
        if opcode > _BINARY:
            if opcode not in (_CLOSE, _PING, _PONG) or not first & _FINAL or length > _SHORT or first & _RESERVED:
                return self._fail(PROTOCOL_ERROR, "a frame has an invalid header")
            return True
        if length >> 63:
            return self._fail(PROTOCOL_ERROR, "a length has 63 bits at most")
        reserved = first & _RESERVED
        if reserved and not (reserved == _DEFLATED and self._deflate is not None and opcode == _TEXT):
            return self._fail(PROTOCOL_ERROR, "a reserved bit is set without an extension that uses it")
        if opcode == _BINARY:
            return self._fail(UNSUPPORTED, "a JSON-RPC message is a text frame")
        if open != (opcode == _CONTINUATION):
            return self._fail(PROTOCOL_ERROR, "a message begins within another, or continues none")
        if self._deflate is not None and self._size + length > self._max_bytes:
            return self._fail(TOO_BIG, f"a message is longer than the limit of {self._max_bytes} bytes (maxFrameBytes)")
        return True

    def _take(self, piece: bytes, messages: list[bytes | LinkOverflow]) -> None:
        """Take in a piece of a long frame."""
        self._missing -= len(piece)
        if self._masked:
            piece, turn = apply_mask(piece, self._key), len(piece) % 4
            self._key = self._key[turn:] + self._key[:turn]
        if self._head is None:
            self._pieces.append(piece)
        else:
            self._head += piece[: HEAD_BYTES - len(self._head)]
        if not self._missing:
            payload = b"".join(self._pieces)
            self._pieces.clear()
            self._frame(self._first, payload, messages)

    def _frame(self, first: int, payload: bytes, messages: list[bytes | LinkOverflow]) -> None:
        """Take in a complete frame that is not a complete short message by itself."""
        opcode = first & 0x0F
        if opcode > _BINARY:
            self._control(opcode, payload)
        elif self._head is not None:
            self._head += payload[: HEAD_BYTES - len(self._head)]
            if first & _FINAL:
                reason = f"a message is longer than the limit of {self._max_bytes} bytes (maxFrameBytes); it is skipped"
                messages.append(LinkOverflow(reason, head=self._head))
                self._head = self._message = None
                self._size = 0
        else:
            payload = self._inflated(first, payload)
            if self._message is None and first & _FINAL:
                self._complete(payload, messages)
                return
            self._message = bytearray() if self._message is None else self._message
            self._message += payload
            self._size = len(self._message)
            if first & _FINAL:
                whole, self._message, self._size = bytes(self._message), None, 0
                self._complete(whole, messages)

    def _complete(self, message: bytes, messages: list[bytes | LinkOverflow]) -> None:
        if not message.isascii():
            try:
                message.decode()
            except UnicodeDecodeError:
                self._fail(INVALID_DATA, "a text frame is UTF-8")
        if self.fault is None:
            messages.append(message)

    def _inflated(self, first: int, payload: bytes) -> bytes:
        """A frame's payload without compression; empty after a fault."""
        if self._deflate is None:
            return payload
        frame = Frame(Opcode(first & 0x0F), payload, bool(first & _FINAL), bool(first & _DEFLATED))
        try:
            return bytes(self._deflate.decode(frame, max_size=self._max_bytes - self._size).data)
        except PayloadTooBig:
            self._fail(TOO_BIG, f"a message is longer than the limit of {self._max_bytes} bytes (maxFrameBytes)")
        except ProtocolError:
            self._fail(INVALID_DATA, "a compressed message cannot be inflated")
        return b""

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self.ping = payload
        elif opcode == _CLOSE:
            try:
                code, reason = int.from_bytes(payload[:2]), payload[2:].decode()
            except UnicodeDecodeError:
                self._fail(INVALID_DATA, "the reason of a close is UTF-8")
                return
            if payload and (len(payload) < 2 or code not in _SENDABLE):
                self._fail(PROTOCOL_ERROR, "there is no such close code")
            else:
                self.closed = Close(code or NO_CODE, reason)

    def _fail(self, code: int, reason: str) -> bool:
        self.fault = Close(code, reason)
        return False


class FrameWriter:
    """Writes frames: each message becomes a text frame."""

    def __init__(self, *, masked: bool, deflate: Extension | None = None) -> None:
        """masked: this end is the client. deflate: the negotiated compression."""
        self._masked = masked
        self._deflate = deflate

    def join(self, messages: list[bytes]) -> bytes:
        """The bytes of these messages' frames."""
        if self._deflate is not None:
            frames = [self._deflate.encode(Frame(Opcode.TEXT, message)) for message in messages]
            return b"".join([self._frame(_WHOLE_TEXT | (_DEFLATED if f.rsv1 else 0), bytes(f.data)) for f in frames])
        if self._masked:
            return b"".join([self._frame(_WHOLE_TEXT, message) for message in messages])
        parts: list[bytes] = []
        for message in messages:
            parts += (_header(_WHOLE_TEXT, len(message), 0), message)
        return b"".join(parts)

    def ping(self) -> bytes:
        """A ping, which the peer has to answer."""
        return self._frame(_FINAL | _PING, b"")

    def pong(self, payload: bytes) -> bytes:
        """The answer to a ping."""
        return self._frame(_FINAL | _PONG, payload)

    def close(self, close: Close) -> bytes:
        """The closing frame. Its reason is cut to the length of a control frame."""
        if close.code == NO_CODE:
            return self._frame(_FINAL | _CLOSE, b"")
        reason = close.reason.encode()[: _SHORT - 2].decode(errors="ignore").encode()
        return self._frame(_FINAL | _CLOSE, close.code.to_bytes(2) + reason)

    def _frame(self, first: int, payload: bytes) -> bytes:
        if not self._masked:
            return _header(first, len(payload), 0) + payload
        key = os.urandom(4)
        return b"".join((_header(first, len(payload), _MASKED), key, apply_mask(payload, key)))


def _header(first: int, length: int, masked: int) -> bytes:
    if length <= _SHORT:
        return _HEADERS[length] if first == _WHOLE_TEXT and not masked else bytes((first, masked | length))
    if length < 1 << 16:
        return b"%c%c%b" % (first, masked | 126, length.to_bytes(2))
    return b"%c%c%b" % (first, masked | 127, length.to_bytes(8))


_HEADERS = [bytes((_WHOLE_TEXT, length)) for length in range(_SHORT + 1)]

"""RFC 6455 frames: a peer's bytes in as they come, whole text messages out, within a bound; and messages to bytes. Pure.

The frames are read and written here because no library does what a link asks: to pass over a message that is too long and live
on, and to write all messages of one turn at once. What is slow in Python or intricate is the `websockets` package's: masks and
permessage-deflate (RFC 7692). docs/adr/0010 has the figures.
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
"""Close codes (RFC 6455 7.4.1)."""

_FINAL, _RESERVED, _DEFLATED, _MASKED = 0x80, 0x70, 0x40, 0x80
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_WHOLE_TEXT = _FINAL | _TEXT
_SHORT = 125  # a longer payload has its length in the bytes that follow; control frames have none
_KEPT = 4096  # an unfinished frame up to this long waits with its header, a longer one is taken in piece by piece
_SENDABLE = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}


class Close(msgspec.Struct, frozen=True):
    """Why a WebSocket ends: a code and a few words."""

    code: int
    reason: str = ""


class FrameReader:
    """Reads one end of a connection. Work is linear in the bytes fed, however they are cut; memory is about two messages.

    masked: the peer is a client. closed: what the peer's closing frame said. fault: how the peer broke the rules. After either
    nothing more is read. ping: the newest that was not answered. With `deflate` a message over the limit is a fault, because
    what follows cannot be inflated without it.
    """

    def __init__(self, max_frame_bytes: int, *, masked: bool, deflate: Extension | None = None) -> None:
        self.closed: Close | None = None
        self.fault: Close | None = None
        self.ping: bytes | None = None
        self._max_bytes = max_frame_bytes
        self._masked = masked
        self._deflate = deflate
        self._rest = b""  # an unfinished short frame
        self._missing = 0  # of an unfinished long one, whose
        self._first, self._key = 0, b""  # first byte and mask these are
        self._pieces: list[bytes] = []
        self._message: bytearray | None = None  # the fragments so far
        self._size = 0  # of the message that is arriving
        self._head: bytes | None = None  # of one that is too long

    @property
    def over(self) -> bool:
        """Nothing more is read."""
        return self.closed is not None or self.fault is not None

    def feed(self, data: bytes) -> list[bytes | LinkOverflow]:
        """The messages that `data` completes, in order; a LinkOverflow in the place of one that was too long."""
        found: list[bytes | LinkOverflow] = []
        if self._missing:
            taken = self._missing
            self._take(data[:taken], found)
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
                self._take(data[start:], found)
                position = end
                break
            position = stop
            payload = data[start:stop]
            if masked:
                payload = apply_mask(payload, key)
            if plain:
                self._complete(payload, found)
            else:
                self._frame(first, payload, found)
        if position < end and not self.over:
            self._rest = data[position:]
        return found

    def _admit(self, first: int, length: int) -> bool:
        """Whether a frame may begin so."""
        opcode, open = first & 0x0F, self._message is not None
        if opcode > _BINARY:
            if opcode not in (_CLOSE, _PING, _PONG) or not first & _FINAL or length > _SHORT or first & _RESERVED:
                return self._fail(PROTOCOL_ERROR, "no frame begins like this")
            return True
        if length >> 63:
            return self._fail(PROTOCOL_ERROR, "a length has 63 bits at most")
        reserved = first & _RESERVED
        if reserved and not (reserved == _DEFLATED and self._deflate is not None and opcode == _TEXT):
            return self._fail(PROTOCOL_ERROR, "a reserved bit is set and no extension was agreed on that sets it")
        if opcode == _BINARY:
            return self._fail(UNSUPPORTED, "a JSON-RPC message is a text frame")
        if open != (opcode == _CONTINUATION):
            return self._fail(PROTOCOL_ERROR, "a message begins within another, or continues none")
        if self._deflate is not None and self._size + length > self._max_bytes:
            return self._fail(TOO_BIG, f"a message is longer than the limit of {self._max_bytes} bytes (maxFrameBytes)")
        return True

    def _take(self, piece: bytes, found: list[bytes | LinkOverflow]) -> None:
        """A piece of a long frame."""
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
            self._frame(self._first, payload, found)

    def _frame(self, first: int, payload: bytes, found: list[bytes | LinkOverflow]) -> None:
        """A whole frame that is not a whole short message."""
        opcode = first & 0x0F
        if opcode > _BINARY:
            self._control(opcode, payload)
        elif self._head is not None:
            self._head += payload[: HEAD_BYTES - len(self._head)]
            if first & _FINAL:
                reason = f"a message is longer than the limit of {self._max_bytes} bytes (maxFrameBytes); it is skipped"
                found.append(LinkOverflow(reason, head=self._head))
                self._head = self._message = None
                self._size = 0
        else:
            payload = self._inflated(first, payload)
            if self._message is None and first & _FINAL:
                self._complete(payload, found)
                return
            self._message = bytearray() if self._message is None else self._message
            self._message += payload
            self._size = len(self._message)
            if first & _FINAL:
                whole, self._message, self._size = bytes(self._message), None, 0
                self._complete(whole, found)

    def _complete(self, message: bytes, found: list[bytes | LinkOverflow]) -> None:
        if not message.isascii():
            try:
                message.decode()
            except UnicodeDecodeError:
                self._fail(INVALID_DATA, "a text frame is UTF-8")
        if self.fault is None:
            found.append(message)

    def _inflated(self, first: int, payload: bytes) -> bytes:
        """What a frame holds; nothing after a fault."""
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
    """Makes one end's bytes: each message a text frame. masked: this end is the client."""

    def __init__(self, *, masked: bool, deflate: Extension | None = None) -> None:
        self._masked = masked
        self._deflate = deflate

    def join(self, messages: list[bytes]) -> bytes:
        """Messages as the bytes of their frames."""
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
        """A question whether the peer is there."""
        return self._frame(_FINAL | _PING, b"")

    def pong(self, payload: bytes) -> bytes:
        """The answer to a ping."""
        return self._frame(_FINAL | _PONG, payload)

    def close(self, close: Close) -> bytes:
        """The last frame. Its reason is cut to what a control frame holds."""
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

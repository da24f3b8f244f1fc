"""WebSocket frames (RFC 6455) as far as load.py and its ceiling need them: whole text messages, no extensions.

A client must mask its frames. This one uses the key 0, which leaves the payload unchanged: that costs the client nothing, and
the server as much as any key.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from hashlib import sha1
from urllib.parse import urlsplit

from benchmarks.wire import Connection, Duplex, ReplyError, endpoint

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_WHOLE = 0x80
_MASKED = 0x80
_NO_MASK = b"\0\0\0\0"
_KEY = b64encode(b"benchmark-client").decode()


def frame(payload: bytes, *, masked: bool = False, opcode: int = _TEXT) -> bytes:
    """A frame with a whole message."""
    mark = _MASKED if masked else 0
    length = len(payload)
    if length < 126:
        head = bytes((_WHOLE | opcode, mark | length))
    elif length < 1 << 16:
        head = bytes((_WHOLE | opcode, mark | 126)) + length.to_bytes(2)
    else:
        head = bytes((_WHOLE | opcode, mark | 127)) + length.to_bytes(8)
    return head + (_NO_MASK if masked else b"") + payload


def accept(key: str) -> str:
    """The Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    return b64encode(sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode(), usedforsecurity=False).digest()).decode()


class Frames(Connection):
    """A connection of frames after the handshake. Received masks must have the key 0."""

    masked = True
    """Whether this side masks its frames."""

    def take(self, data: bytes) -> bytes:
        """As Connection.take."""
        at, size = 0, len(data)
        while size - at >= 2:
            opcode, length, start = data[at], data[at + 1] & 0x7F, at + 2
            if data[at + 1] & _MASKED:
                start += 4
            if length == 126:
                length, start = int.from_bytes(data[at + 2 : at + 4]), start + 2
            elif length == 127:
                length, start = int.from_bytes(data[at + 2 : at + 10]), start + 8
            if size < start + length:
                break
            at = start + length
            self._frame(opcode, data[start:at])
        return data[at:]

    def _frame(self, opcode: int, payload: bytes) -> None:
        if opcode in (_WHOLE | _TEXT, _WHOLE | _BINARY):
            self.on_message(payload)
        elif opcode == _WHOLE | _PING:
            self.write(frame(payload, masked=self.masked, opcode=_PONG))
        elif opcode == _WHOLE | _CLOSE:
            raise ReplyError(f"the server closed the WebSocket: {payload!r}")
        elif opcode != _WHOLE | _PONG:
            raise ReplyError(f"a frame of kind {opcode:#x}: {payload[:300]!r}")


class _Opening(Frames):
    """A client's connection, which begins with an HTTP response."""

    open = False

    def take(self, data: bytes) -> bytes:
        """As Connection.take."""
        if self.open:
            return super().take(data)
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            return data
        if not head.startswith(b"HTTP/1.1 101") or accept(_KEY).encode() not in head:
            raise ReplyError(f"no WebSocket there: {data[:300]!r}")
        self.open = True
        self.on_message(head)
        return rest


class WebSocketWire(Duplex):
    """A session over a WebSocket."""

    def packed(self, body: bytes, method: str, name: str) -> bytes:  # noqa: ARG002 - only HTTP sends them in headers
        """As Wire.packed."""
        return frame(body, masked=True)


async def open_websocket(url: str, depth: int) -> WebSocketWire:
    """One session at ws://HOST:PORT/PATH."""
    parts = urlsplit(url)
    _, connection = await asyncio.get_running_loop().create_connection(_Opening, *endpoint(url))
    head = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    head += f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mcp\r\nSec-WebSocket-Key: {_KEY}\r\n\r\n"
    await connection.until(head.encode(), lambda _: True)
    return WebSocketWire(connection, depth)

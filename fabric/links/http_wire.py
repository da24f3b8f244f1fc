"""HTTP/1.1 answers as bytes: heads with their status and date, chunks. Pure but for the clock."""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"
CLOSE = b"connection: close\r\n"
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


def head(status: int, lines: bytes) -> bytes:
    """An answer's status line and header lines; `lines` are others, each ended by CR LF. What ends the head is to follow."""
    second = int(time.time())
    if second != _Date.second:
        _Date.second, _Date.line = second, f"date: {formatdate(second, usegmt=True)}\r\n".encode()
    return _STATUS[status] + _Date.line + lines


def chunk(data: bytes) -> bytes:
    """A piece of an answer whose length is not known (RFC 9112 7.1); `data` is not empty, which would mean the end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Date:
    """The Date header's line, formatted once a second (RFC 9110 6.6.1 asks for it)."""

    second = 0
    line = b""

"""Writes HTTP/1.1 heads, with status and date, and chunks. Pure but for the clock. Above it: connection.py."""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import ClassVar

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"
CLOSE = b"connection: close\r\n"
_KEPT = 64  # heads kept for one second: most answers have one of a few
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


def head(status: int, lines: bytes) -> bytes:
    """The status line, the date and `lines` (header lines, each with CR LF). The caller adds the empty line behind them."""
    second = int(time.time())
    if second != _Made.second:
        _Made.second, _Made.date = second, f"date: {formatdate(second, usegmt=True)}\r\n".encode()
        _Made.heads.clear()
    made = _Made.heads.get((status, lines))
    if made is None:
        made = _STATUS[status] + _Made.date + lines
        if len(_Made.heads) < _KEPT:
            _Made.heads[status, lines] = made
    return made


def chunk(data: bytes) -> bytes:
    """One chunk of an answer whose length is unknown (RFC 9112 7.1). `data` must not be empty, which would mean the end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Made:
    """The heads made in the current second, with the Date that RFC 9110 6.6.1 asks for."""

    second = 0
    date = b""
    heads: ClassVar[dict[tuple[int, bytes], bytes]] = {}

"""HTTP/1.1 requests out of a connection's bytes: llhttp parses, this file says what a request is. Pure, and bounded.

What llhttp refuses never becomes a request (RFC 9112): Content-Length beside Transfer-Encoding or twice, line ends that are not
CR LF, folded lines, white space before a colon. The body's bound is the reader's owner's to hold, between two feeds.

A request may offer to leave HTTP for another protocol (Upgrade, CONNECT). llhttp stops there, and does not read that request's
body: it is read all the same, because an offer need not be taken (RFC 9110 7.8).
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

MAX_HEAD_BYTES = 64 * 1024
"""Longest head of a request, and longest trailer."""

MAX_HEADERS = 128
"""Most headers of a request, repeated ones counted once."""

MAX_KNOWN_BYTES = 16 * 1024
"""Longest request whose head is remembered."""


class Head(msgspec.Struct):
    """A request up to its body."""

    method: str
    path: bytes
    """Raw, without the query."""
    headers: dict[bytes, bytes]
    """By lower-case name, repeated ones joined (RFC 9110 5.3), so that a doubled single-valued header matches nothing."""
    persistent: bool
    """The connection may serve a next request."""
    chunked: bool
    """An answer of unknown length may be sent in chunks; else the end of the connection is its end."""
    upgrade: bool
    """It offers to go on in another protocol."""
    known: Any = None
    """What the service found out about it; kept with it because heads come again."""


class Request(msgspec.Struct):
    """One request, perhaps still arriving."""

    head: Head
    body: bytes = b""
    """Set when the request is whole."""
    size: int = 0
    """How many bytes of the body have arrived."""
    judged: bool = False
    """The service has judged its head."""
    whole: bool = False
    dropped: bool = False
    """The reader has handed it over; if it was still arriving, it was refused, and the rest of its body is thrown away."""
    lines: bytes = b""
    """Header lines that its answer has to carry."""


class _Known(msgspec.Struct, frozen=True):
    """A head as it was on the wire, and how long it and the body it announces are."""

    wire: bytes
    head: Head
    total_bytes: int


class RequestReader:
    """Reads one connection. A client's next request mostly begins with the same head, byte for byte; it is not parsed again."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        """Those to be answered, in order. The last may still be arriving."""
        self.fault = 0
        """The HTTP status for the bytes that follow the requests; 0 while they are HTTP."""
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self._request: Request | None = None
        self._pieces: list[bytes] = []
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self.begun = False
        """A request is arriving, or the rest of one that was dropped."""
        self._idle_bytes = 0  # fed since the last that became a head or a body
        self._known: _Known | None = None
        self._offer: Request | None = None  # its head has come, and a body is to follow that the parser does not read

    def feed(self, data: bytes) -> bytes:
        """Take in bytes. After a fault or the last request of a connection nothing more is read.

        Returns what is left behind a request that offers another protocol: of that protocol if the offer is taken, else to be
        fed when that request has been answered.
        """
        known = self._known
        if known is not None and len(data) == known.total_bytes and data.startswith(known.wire) and not self.begun:
            body = data[len(known.wire) :]
            self.requests.append(Request(known.head, body, len(body), whole=True))
            return b""
        if self._parser is None:
            return b""
        fresh = not self.begun
        self._idle_bytes += len(data)
        rest = b""
        try:
            rest = self._parse(data)
        except HttpParserError:
            self.fault = self.fault or 400
            self.close()
        if self._idle_bytes > MAX_HEAD_BYTES and not self.fault:
            self.fault = 431
            self.close()
        if fresh and self.requests and self.requests[-1].whole and not self.fault:
            self._remember(data, self.requests[-1])
        return rest

    def _parse(self, data: bytes) -> bytes:
        """Have the parser read, also the bodies of requests that offer another protocol. Returns what `feed` does."""
        while data and self._parser is not None:
            try:
                self._parser.feed_data(data)
                return b""
            except HttpParserUpgrade as upgrade:
                rest = data[upgrade.args[0] :]
                if self._offer is None:
                    return rest
                self._parser = HttpRequestParser(self)
                data = _framed(self._offer.head.headers) + rest
        return b""

    def drop(self) -> None:
        """Take away the first request. If it is still arriving, the rest of its body is thrown away."""
        request = self.requests.popleft()
        request.dropped = True
        if request is self._request:
            self._pieces.clear()

    def close(self) -> None:
        """Read no more. Breaks the cycle between reader and parser."""
        self._parser = self._known = None

    @property
    def awaiting_head(self) -> bool:
        """A request has begun to arrive and its head is not there yet."""
        return self.begun and self._request is None

    def _remember(self, data: bytes, request: Request) -> None:
        end = data.find(b"\r\n\r\n") + 4
        head = request.head
        if end + request.size != len(data) or len(data) > MAX_KNOWN_BYTES:
            return
        if head.persistent and b"transfer-encoding" not in head.headers:
            self._known = _Known(data[:end], head, len(data))

    # ------------------------------------------------------------ what the parser calls
    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.begun = True

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        if self._offer is None:
            self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        if self._request is not None:
            return  # a trailer: RFC 9112 7.1.2 lets it be thrown away
        name, value, headers = name.lower(), value.strip(b" \t"), self._headers
        headers[name] = headers[name] + b", " + value if name in headers else value

    def on_headers_complete(self) -> None:
        """The head is over."""
        if self._offer is not None:
            self._offer = None  # this head was ours: what follows is the body of that request
            return
        parser, headers, target = self._parser, self._headers, self._target
        assert parser is not None  # noqa: S101 (it is the parser that calls)
        self._headers, self._target = {}, b""
        if len(headers) > MAX_HEADERS:
            self._fail(431)
        if self._idle_bytes > MAX_HEAD_BYTES and sum(map(len, (target, *headers, *headers.values()))) > MAX_HEAD_BYTES:
            self._fail(431)
        if target[:1] != b"/":
            target = _origin_form(target, headers)
        persistent, chunked = parser.should_keep_alive(), True
        if not persistent or b"connection" in headers:
            version = parser.get_http_version()
            if version not in ("1.1", "1.0"):
                self._fail(505)
            if version == "1.0":
                persistent = chunked = False
                if b"transfer-encoding" in headers:
                    self._fail(400)  # RFC 9112 6.1: its framing is faulty
        if b"transfer-encoding" in headers and headers[b"transfer-encoding"].lower() != b"chunked":
            self._fail(501)
        upgrade = parser.should_upgrade()
        method = parser.get_method().decode()
        if method == "CONNECT":
            persistent = False  # such a client may have begun to speak to the host it wants
        head = Head(method, target.partition(b"?")[0], headers, persistent, chunked, upgrade)
        self._request = Request(head)
        self.requests.append(self._request)
        if upgrade and announces_body(headers):
            self._offer = self._request
        self._idle_bytes = 0

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        request = self._request
        assert request is not None  # noqa: S101 (a body comes after its head)
        request.size += len(piece)
        self._idle_bytes = 0
        if not request.dropped:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """The request is whole; one with an offer seems to be when its head has come."""
        if self._offer is not None:
            return
        request, pieces = self._request, self._pieces
        assert request is not None  # noqa: S101 (it began with its head)
        if pieces:
            request.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._pieces = []
        request.whole = True
        self._request = None
        self.begun = False
        self._idle_bytes = 0

    def _fail(self, status: int) -> None:
        """Say what is wrong, and have the parser stop."""
        self.fault = status
        raise ValueError(status)


def announces_body(headers: dict[bytes, bytes]) -> bool:
    """Whether a body follows these; some clients say of each request that has none that its length is 0."""
    return b"transfer-encoding" in headers or bool(headers.get(b"content-length", b"0").strip(b"0"))


def _framed(headers: dict[bytes, bytes]) -> bytes:
    """The head of a request that has the same body and offers nothing."""
    if b"transfer-encoding" in headers:
        return b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    return b"POST / HTTP/1.1\r\ncontent-length: %b\r\n\r\n" % headers[b"content-length"]


def _origin_form(target: bytes, headers: dict[bytes, bytes]) -> bytes:
    """The path of an absolute target, whose authority replaces the Host header (RFC 9112 3.2.2); other forms as they are."""
    scheme, separator, rest = target.partition(b"?")[0].partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        return target
    headers[b"host"], slash, path = rest.partition(b"/")
    return slash + path or b"/"

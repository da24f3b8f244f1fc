"""Reads HTTP/1.1 requests from a connection's bytes, within bounds: llhttp parses, this file makes requests. Pure.

llhttp refuses as RFC 9112 asks: Content-Length beside Transfer-Encoding or twice, line ends that are not CR LF, folded lines,
white space before a colon. The bound on a body is enforced by connection.py, between two calls of `feed`.

A request may offer to leave HTTP for another protocol (Upgrade, CONNECT). llhttp stops there, and does not read that request's
body. This file reads it all the same, because the server need not take the offer (RFC 9110 7.8).
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

MAX_HEAD_BYTES = 64 * 1024
"""The longest head of a request, and the longest trailer."""

MAX_HEADERS = 128
"""The most headers of a request, repeated ones counted once."""

MAX_KNOWN_BYTES = 16 * 1024
"""The longest request whose head is remembered."""


class Head(msgspec.Struct):
    """A request up to its body."""

    method: str
    """In upper case, such as `POST`."""
    path: bytes
    """Raw, without the query."""
    headers: dict[bytes, bytes]
    """By lower-case name, repeated ones joined (RFC 9110 5.3), so that a doubled single-valued header matches nothing."""
    persistent: bool
    """Whether the connection may serve another request."""
    chunked: bool
    """Whether an answer of unknown length may be sent in chunks; if not, the end of the connection ends it."""
    upgrade: bool
    """Whether the request offers another protocol."""
    known: Any = None
    """The service's results for this head, stored with it because the same head comes again."""


class Request(msgspec.Struct):
    """One request, perhaps still arriving."""

    head: Head
    """The request up to its body."""
    body: bytes = b""
    """The body, set when the request is whole."""
    size: int = 0
    """How many bytes of the body have arrived."""
    judged: bool = False
    """Whether the service has judged the head."""
    whole: bool = False
    """Whether all of the body has arrived."""
    dropped: bool = False
    """Whether the reader has dropped it; if it was still arriving, it was refused, and the rest of its body is thrown away."""
    lines: bytes = b""
    """Header lines that the answer has to carry."""


class _Known(msgspec.Struct, frozen=True):
    """A head that was parsed before."""

    raw: bytes
    """The bytes of the head."""
    head: Head
    """The head that they mean."""
    total_bytes: int
    """The length of the head and of the body that it announces."""


class RequestReader:
    """Reads one connection. A client's next request mostly begins with the same head, byte for byte; it is not parsed again."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        """The requests to be answered, in order. The last one may still be arriving."""
        self.fault = 0
        """The HTTP status that refuses the bytes behind the requests; 0 while they are valid HTTP."""
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self._request: Request | None = None
        self._pieces: list[bytes] = []
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self.begun = False
        """Whether a request is arriving, or the rest of a dropped one."""
        self._idle_bytes = 0  # bytes fed since a head or a piece of a body was last complete
        self._known: _Known | None = None
        self._offer: Request | None = None  # a request with an offer, whose body follows and is not read by its parser

    def feed(self, data: bytes) -> bytes:
        """Take in bytes. After a fault, or after the last request of a connection, they are ignored.

        Returns the bytes behind a request that offers another protocol. They are of that protocol if the offer is taken; if
        not, they are to be fed again once the request is answered.
        """
        known = self._known
        if known is not None and len(data) == known.total_bytes and data.startswith(known.raw) and not self.begun:
            body = data[len(known.raw) :]
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
        """Feed the parser, also with the bodies of requests that offer another protocol. Returns the same bytes as `feed`."""
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
        """Remove the first request. If it is still arriving, the rest of its body is thrown away."""
        request = self.requests.popleft()
        request.dropped = True
        if request is self._request:
            self._pieces.clear()

    def close(self) -> None:
        """Stop reading, and break the reference cycle between reader and parser."""
        self._parser = self._known = None

    @property
    def awaiting_head(self) -> bool:
        """Whether a request has begun to arrive and its head is not complete."""
        return self.begun and self._request is None

    def _remember(self, data: bytes, request: Request) -> None:
        end = data.find(b"\r\n\r\n") + 4
        head = request.head
        if end + request.size != len(data) or len(data) > MAX_KNOWN_BYTES:
            return
        if head.persistent and b"transfer-encoding" not in head.headers:
            self._known = _Known(data[:end], head, len(data))

    # ------------------------------------------------------------ called by the parser
    def on_message_begin(self) -> None:
        """The first byte of a request was parsed."""
        self.begun = True

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target was parsed."""
        if self._offer is None:
            self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line was parsed."""
        if self._request is not None:
            return  # a trailer, which may be thrown away (RFC 9112 7.1.2)
        name, value, headers = name.lower(), value.strip(b" \t"), self._headers
        headers[name] = headers[name] + b", " + value if name in headers else value

    def on_headers_complete(self) -> None:
        """The head is complete."""
        if self._offer is not None:
            self._offer = None  # this head came from `_framed`: the body of that request follows
            return
        parser, headers, target = self._parser, self._headers, self._target
        assert parser is not None  # noqa: S101 (the parser calls this)
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
                    self._fail(400)  # faulty framing (RFC 9112 6.1)
        if b"transfer-encoding" in headers and headers[b"transfer-encoding"].lower() != b"chunked":
            self._fail(501)
        upgrade = parser.should_upgrade()
        method = parser.get_method().decode()
        if method == "CONNECT":
            persistent = False  # the next bytes may already be meant for the host that the client wants
        head = Head(method, target.partition(b"?")[0], headers, persistent, chunked, upgrade)
        self._request = Request(head)
        self.requests.append(self._request)
        if upgrade and announces_body(headers):
            self._offer = self._request
        self._idle_bytes = 0

    def on_body(self, piece: bytes) -> None:
        """A piece of the body was parsed."""
        request = self._request
        assert request is not None  # noqa: S101 (a body comes after its head)
        request.size += len(piece)
        self._idle_bytes = 0
        if not request.dropped:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """The request is whole. The parser also says so of a request with an offer, once its head is complete."""
        if self._offer is not None:
            return
        request, pieces = self._request, self._pieces
        assert request is not None  # noqa: S101 (its head came first)
        if pieces:
            request.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._pieces = []
        request.whole = True
        self._request = None
        self.begun = False
        self._idle_bytes = 0

    def _fail(self, status: int) -> None:
        """Set the fault, and stop the parser by an exception."""
        self.fault = status
        raise ValueError(status)


def announces_body(headers: dict[bytes, bytes]) -> bool:
    """Whether a body follows these headers. A Content-Length of 0, which some clients always send, announces none."""
    return b"transfer-encoding" in headers or bool(headers.get(b"content-length", b"0").strip(b"0"))


def _framed(headers: dict[bytes, bytes]) -> bytes:
    """A head without an offer, for a parser that shall read the body of a request with these headers."""
    if b"transfer-encoding" in headers:
        return b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    return b"POST / HTTP/1.1\r\ncontent-length: %b\r\n\r\n" % headers[b"content-length"]


def _origin_form(target: bytes, headers: dict[bytes, bytes]) -> bytes:
    """The path of an absolute target, whose authority replaces the Host header (RFC 9112 3.2.2); other targets unchanged."""
    scheme, separator, rest = target.partition(b"?")[0].partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        return target
    headers[b"host"], slash, path = rest.partition(b"/")
    return slash + path or b"/"

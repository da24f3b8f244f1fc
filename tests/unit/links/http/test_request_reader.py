"""The HTTP/1.1 request reader: which bytes are requests, in pieces of any size, and which are refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.links.http.request_reader import MAX_HEAD_BYTES, MAX_HEADERS, Request, RequestReader

POST = b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
CHUNKED = b"POST /x?y=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;k=v\r\na\r\n1\r\nb\r\n0\r\nHost: b\r\n\r\n"
GET = b"GET /livez HTTP/1.1\r\nHost: a\r\nX: 1\r\nx:  2 \t\r\n\r\n"


def read(*pieces: bytes) -> RequestReader:
    reader = RequestReader()
    for piece in pieces:
        reader.feed(piece)
    return reader


def requests_of(reader: RequestReader) -> list[tuple[str, bytes, dict[bytes, bytes], bytes]]:
    assert all(request.whole for request in reader.requests)
    return [(each.head.method, each.head.path, each.head.headers, each.body) for each in reader.requests]


EXPECTED = [
    ("POST", b"/mcp", {b"host": b"a", b"content-length": b"2"}, b"ab"),
    ("POST", b"/x", {b"host": b"a", b"transfer-encoding": b"chunked"}, b"ab"),
    ("GET", b"/livez", {b"host": b"a", b"x": b"1, 2"}, b""),
]


@given(st.lists(st.integers(0, len(POST + CHUNKED + GET)), max_size=12))
def test_requests_are_read_from_a_stream_cut_anywhere(cuts: list[int]) -> None:
    stream = POST + CHUNKED + GET
    places = sorted({0, *cuts, len(stream)})
    reader = read(*(stream[start:end] for start, end in itertools.pairwise(places)))
    assert requests_of(reader) == EXPECTED
    assert (reader.fault, reader.begun) == (0, False)


@given(st.lists(st.sampled_from([POST, CHUNKED, GET, POST.replace(b"ab", b"cd"), b"\r\n"]), max_size=12), st.data())
def test_a_repeated_head_is_read_like_a_new_one(parts: list[bytes], data: st.DataObject) -> None:
    pieces = []
    for part in parts:
        cut = data.draw(st.sampled_from([0, 1, len(part) - 1, len(part)]))
        pieces += [part[:cut], part[cut:]]
    known, anew = read(*filter(None, pieces)), read(b"".join(parts))
    assert requests_of(known) == requests_of(anew)
    assert known.fault == anew.fault == 0


def test_a_known_head_after_the_beginning_of_another_request_is_refused() -> None:
    assert read(POST, b"GET", POST).fault == 400
    reader = read(POST, b"GET ", POST)
    assert [request.body for request in reader.requests] == [b"ab"]
    assert reader.fault == 400


@pytest.mark.parametrize(
    "lines",
    [
        b"Host: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        b"Host: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        b"Host: a\r\nContent-Length: 2, 2\r\n\r\nab",
        b"Host: a\r\nContent-Length: +2\r\n\r\nab",
        b"Host: a\r\nContent-Length: 0x2\r\n\r\nab",
        b"Host: a\r\nContent-Length: -2\r\n\r\nab",
        b"Host: a\r\nContent-Length:\r\n\r\nab",
        b"Host: a\r\nContent-Length: 99999999999999999999999\r\n\r\nab",
        b"Host: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Host: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabX\r\n0\r\n\r\n",
        b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\n0\n\n",
        b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n0\r\n\r\n",
        b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nab\r\n",
        b"Host: a\r\n X: folded\r\n\r\n",
        b"Host: a\nContent-Length: 2\r\n\r\nab",
        b"Host: a\r\nX: a\rb\r\n\r\n",
        b"Host: a\r\nX: a\x00b\r\n\r\n",
        b"Host: a\r\nX\x80: a\r\n\r\n",
        b"Host a\r\n\r\n",
        b": a\r\n\r\n",
    ],
)
def test_ambiguous_framing_is_refused(lines: bytes) -> None:
    reader = read(b"POST / HTTP/1.1\r\n" + lines + GET)
    assert reader.fault == 400
    assert all(not request.whole for request in reader.requests)


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        (b"get / HTTP/1.1\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n", 400),
        (b"GET /a b HTTP/1.1\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    ],
)
def test_a_request_that_is_not_http_1_is_refused(stream: bytes, fault: int) -> None:
    reader = read(stream)
    assert (reader.fault, list(reader.requests)) == (fault, [])
    reader.feed(GET)
    assert not reader.requests


@pytest.mark.parametrize("piece", [1000, 60_000, 10 * MAX_HEAD_BYTES])
@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET /", b"a"),
        (b"GET / HTTP/1.1\r\nX: ", b"a"),
        (b"GET / HTTP/1.1\r\n", b"X: a\r\n"),
    ],
)
def test_a_head_is_bounded(piece: int, start: bytes, more: bytes) -> None:
    stream = start + more * (3 * MAX_HEAD_BYTES // len(more)) + b"\r\n\r\n"
    assert read(*(stream[at : at + piece] for at in range(0, len(stream), piece))).fault == 431


@pytest.mark.parametrize("more", [b"X: a\r\n", b"a"])
def test_a_trailer_is_bounded(more: bytes) -> None:
    stream = b"1\r\na\r\n0\r\nX: " + more * (3 * MAX_HEAD_BYTES // len(more))
    pieces = (stream[at : at + 1000] for at in range(0, len(stream), 1000))
    assert read(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", *pieces).fault == 431


def test_the_number_of_headers_is_bounded() -> None:
    def head(count: int) -> bytes:
        return b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: a\r\n" % number for number in range(count)) + b"\r\n"

    assert read(head(MAX_HEADERS)).fault == 0
    assert read(head(MAX_HEADERS + 1)).fault == 431


def test_a_large_body_does_not_count_as_a_large_head() -> None:
    body = b"x" * (10 * MAX_HEAD_BYTES)
    stream = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    reader = read(*(stream[at : at + 1000] for at in range(0, len(stream), 1000)), GET)
    assert [request.body for request in reader.requests] == [body, b""]


@pytest.mark.parametrize(
    ("start", "persistent", "chunked"),
    [
        (b"GET / HTTP/1.1\r\n", True, True),
        (b"GET / HTTP/1.1\r\nConnection: keep-alive\r\n", True, True),
        (b"GET / HTTP/1.1\r\nConnection: Close\r\n", False, True),
        (b"GET / HTTP/1.1\r\nConnection: x, close\r\n", False, True),
        (b"GET / HTTP/1.0\r\n", False, False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", False, False),
    ],
)
def test_a_connection_is_kept_as_its_client_asks(start: bytes, persistent: bool, chunked: bool) -> None:
    head = read(start + b"Host: a\r\n\r\n").requests[0].head
    assert (head.persistent, head.chunked) == (persistent, chunked)


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"/a%2Fb?c#d", b"/a%2Fb", b"a"),
        (b"http://b:80/x?y", b"/x", b"b:80"),
        (b"HTTP://b", b"/", b"b"),
        (b"http://b?y", b"/", b"b"),
        (b"ftp://b/x", b"ftp://b/x", b"a"),
        (b"*", b"*", b"a"),
    ],
)
def test_an_absolute_target_names_path_and_host(target: bytes, path: bytes, host: bytes) -> None:
    head = read(b"OPTIONS %b HTTP/1.1\r\nHost: a\r\n\r\n" % target).requests[0].head
    assert (head.path, head.headers[b"host"]) == (path, host)


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
OFFERS = [request.replace(b"Host: a\r\n", OFFER + b"Host: a\r\n") for request in (POST, CHUNKED, GET)]


@given(st.lists(st.sampled_from([*OFFERS, POST, GET]), max_size=6), st.lists(st.integers(0, 2000), max_size=12))
def test_an_upgrade_offer_does_not_change_the_requests_that_are_read(parts: list[bytes], cuts: list[int]) -> None:
    stream, reader = b"".join(parts), RequestReader()
    places = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
    left = b""
    for start, end in itertools.pairwise(places):
        left += stream[start:end]
        while left:  # as a connection does: it feeds the rest once the request before it has been answered
            fed, left = left, b""
            left = reader.feed(fed)
    bare = read(b"".join(parts).replace(OFFER, b""))
    assert [(method, path, body) for method, path, _, body in requests_of(reader)] == [
        (method, path, body) for method, path, _, body in requests_of(bare)
    ]
    assert [request.head.upgrade for request in reader.requests] == [part in OFFERS for part in parts]
    assert all(request.head.persistent for request in reader.requests)
    assert (reader.fault, reader.begun) == (0, False)


@pytest.mark.parametrize("bad", [b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 2, 3\r\n"])
def test_an_upgrade_offer_does_not_hide_ambiguous_framing(bad: bytes) -> None:
    assert read(b"POST / HTTP/1.1\r\n" + OFFER + bad + b"Host: a\r\n\r\nab").fault == 400


def test_the_body_of_a_request_with_an_upgrade_offer_is_checked_like_any_other() -> None:
    start = b"POST / HTTP/1.1\r\n" + OFFER + b"Transfer-Encoding: chunked\r\nHost: a\r\n\r\n"
    assert read(start + b"zz\r\n").fault == 400
    assert read(start, b"1\r\na\r\n0\r\n", *[b"X: aaaaaaaaaa\r\n" * 100] * 100).fault == 431


@pytest.mark.parametrize(
    ("start", "persistent"),
    [(b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", True), (b"CONNECT a:80 HTTP/1.1\r\n", False)],
)
def test_bytes_after_an_upgrade_offer_are_kept_for_the_new_protocol(start: bytes, persistent: bool) -> None:
    reader = RequestReader()
    assert reader.feed(start + b"Host: a\r\n\r\nother bytes") == b"other bytes"
    (request,) = reader.requests
    assert (request.head.upgrade, request.head.persistent, request.whole, reader.fault) == (True, persistent, True, 0)


def test_the_rest_of_a_dropped_request_is_discarded() -> None:
    reader = read(POST[:-1])
    reader.drop()
    reader.feed(b"b" + GET)
    assert [request.head.method for request in reader.requests] == ["GET"]


def test_a_request_is_available_with_its_head_before_its_body_is_complete() -> None:
    reader = read(POST[:-2])
    request: Request = reader.requests[0]
    assert (request.head.path, request.whole, reader.awaiting_head) == (b"/mcp", False, False)
    reader.feed(b"ab" + GET[:5])
    assert (request.body, request.whole, reader.awaiting_head) == (b"ab", True, True)

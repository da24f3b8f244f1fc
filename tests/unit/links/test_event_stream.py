"""Server-Sent Events: encoding, and decoding from bytes cut anywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import LinkOverflow
from fabric.links.event_stream import EventDecoder, ServerEvent, encode_event


@pytest.mark.parametrize(
    ("frame", "id", "event"),
    [
        (b"{}", "", b"data: {}\n\n"),
        (b"{}", "e.1", b"id: e.1\ndata: {}\n\n"),
        (b'{\n"a":\r\n1\r}', "", b'data: {\ndata: "a":\ndata: 1\ndata: }\n\n'),
        (b"", "e.0", b"id: e.0\nretry: 1000\ndata:\n\n"),
        (b"", "", b":\n\n"),
    ],
)
def test_an_event_is_encoded_with_its_id_and_its_frame(frame: bytes, id: str, event: bytes) -> None:
    assert encode_event(frame, id) == event


STREAM = (
    b"\xef\xbb\xbf: a comment\n\nid: 1\nretry: 250\ndata:\n\n"
    b"data: a\r\ndata:b\r\n\r\nevent: endpoint\rdata: /post\r\rid: bad\0\nfoo: bar\ndata:  c\n\nid\ndata: d\n\ndata: cut off"
)
EVENTS = [("message", b"a\nb", "1"), ("endpoint", b"/post", "1"), ("message", b" c", "1"), ("message", b"d", "")]


@given(st.lists(st.integers(0, len(STREAM))))
def test_events_are_decoded_from_a_stream_cut_anywhere(cuts: list[int]) -> None:
    places = sorted({0, *cuts, len(STREAM)})
    decoder, decoded = EventDecoder(100), []
    for start, end in pairwise(places):
        for event in decoder.feed(STREAM[start:end]):
            assert isinstance(event, ServerEvent)
            decoded.append((event.kind, event.data))
    assert decoded == [event[:2] for event in EVENTS]
    assert (decoder.last_id, decoder.retry) == ("", 0.25)


def test_the_last_event_id_is_that_of_the_last_whole_event() -> None:
    decoder = EventDecoder(100)
    for kind, data, last_id in EVENTS[:2]:
        assert decoder.feed(b"id: %b\nevent: %b\ndata: %b\n\n" % (last_id.encode(), kind.encode(), data.replace(b"\n", b"")))
        assert decoder.last_id == last_id
    decoder.feed(b"id: 2\ndata: half of ")
    assert decoder.last_id == "1"
    decoder.reopen()
    (event,) = decoder.feed(b"data: whole\n\n")
    assert (event.data if isinstance(event, ServerEvent) else b"", decoder.last_id) == (b"whole", "1")


@pytest.mark.parametrize("lines", [[b"x" * 101], [b"x" * 60, b"y" * 60], [b"x" * 100_000]])
@pytest.mark.parametrize("piece", [1, 7, 1_000_000])
def test_an_event_over_the_limit_is_reported_once_with_its_beginning(lines: list[bytes], piece: int) -> None:
    decoder, decoded = EventDecoder(100), []
    stream = b"".join(b"data: " + line + b"\n" for line in lines) + b"\ndata: next\n\n"
    for start in range(0, len(stream), piece):
        decoded += decoder.feed(stream[start : start + piece])
    overflow, event = decoded
    assert isinstance(overflow, LinkOverflow)
    assert overflow.head.startswith(b"xxx")
    assert event == ServerEvent("message", b"next")

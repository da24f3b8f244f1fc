"""Server-Sent Events as bytes."""

from __future__ import annotations

import pytest

from fabric.links.event_stream import encode_event


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
def test_an_event_is_its_id_and_its_frame(frame: bytes, id: str, event: bytes) -> None:
    assert encode_event(frame, id) == event

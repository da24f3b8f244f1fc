"""WebSocket frames, with the `websockets` package as the peer, and frames that RFC 6455 forbids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close as PeerClose
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol, Side

from fabric.errors import LinkOverflow
from fabric.links.websocket.frames import Close, FrameReader, FrameWriter

LIMIT = 20_000
LENGTHS = st.sampled_from([124, 125, 126, 127, 5000, LIMIT])
TEXTS = st.lists(st.one_of(st.text(max_size=300), LENGTHS.map("x".__mul__)), max_size=6)
SIDES = st.sampled_from([CLIENT, SERVER])


def deflate() -> PerMessageDeflate:
    return PerMessageDeflate(False, False, 15, 15)


def peer(side: Side, *, compressed: bool) -> Protocol:
    """The library's protocol for this side, after the handshake."""
    made = Protocol(side, max_size=None)
    made.extensions = [deflate()] if compressed else []
    return made


def reader(side: Side = CLIENT, *, limit: int = LIMIT, compressed: bool = False) -> FrameReader:
    """A reader of the frames that a peer of this side sends."""
    return FrameReader(limit, masked=side is CLIENT, deflate=deflate() if compressed else None)


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, mask: bool = True, bits: int = 0) -> bytes:
    """The bytes of a frame, with these reserved `bits`."""
    first, *rest = Frame(Opcode(opcode), data, fin).serialize(mask=mask)
    return bytes([first | bits, *rest])


def fed(frames: FrameReader, data: bytes, size: int) -> list[bytes | LinkOverflow]:
    """The messages in this data, fed in pieces of `size`."""
    return [message for start in range(0, len(data), size) for message in frames.feed(data[start : start + size])]


@given(TEXTS, SIDES, st.booleans(), st.integers(1, 9000))
def test_frames_of_the_peer_are_read_from_bytes_cut_anywhere(texts: list[str], side: Side, compressed: bool, size: int) -> None:
    writing = peer(side, compressed=compressed)
    for text in texts:
        writing.send_text(text.encode())
    assert fed(reader(side, compressed=compressed), b"".join(writing.data_to_send()), size) == [text.encode() for text in texts]


@given(TEXTS, SIDES, st.booleans())
def test_the_peer_reads_the_frames_that_are_written(texts: list[str], side: Side, compressed: bool) -> None:
    writer = FrameWriter(masked=side is SERVER, deflate=deflate() if compressed else None)
    reading = peer(side, compressed=compressed)
    reading.receive_data(writer.join([text.encode() for text in texts]))
    frames = [event for event in reading.events_received() if isinstance(event, Frame)]
    assert [(event.opcode, bytes(event.data)) for event in frames] == [(Opcode.TEXT, text.encode()) for text in texts]
    reading.receive_data(writer.ping() + writer.pong(b"x") + writer.close(Close(1001, "h\u00e9" * 100)))
    assert [event.opcode for event in reading.events_received() if isinstance(event, Frame)] == [9, 10, 8]
    assert reading.close_rcvd is not None
    assert reading.close_rcvd.code == 1001


@given(
    st.text(max_size=400).map(str.encode), st.lists(st.integers(0, 400), max_size=5), SIDES, st.booleans(), st.integers(1, 100)
)
def test_fragments_are_joined_around_the_control_frames_between_them(
    message: bytes, cuts: list[int], side: Side, compressed: bool, size: int
) -> None:
    writing, ends = peer(side, compressed=compressed), sorted({min(cut, len(message)) for cut in cuts} - {0, len(message)})
    pieces = [message[start:end] for start, end in zip([0, *ends], [*ends, len(message)], strict=True)]
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        if number:
            writing.send_continuation(piece, fin=last)
        else:
            writing.send_text(piece, fin=last)
        writing.send_ping(b"%d" % number)
    frames = reader(side, compressed=compressed)
    assert fed(frames, b"".join(writing.data_to_send()), size) == [message]
    assert frames.ping == b"%d" % (len(pieces) - 1)


@given(st.integers(101, 9000), st.lists(st.integers(0, 9000), max_size=4), st.integers(1, 5000))
def test_a_message_over_the_limit_is_skipped_in_little_memory(length: int, cuts: list[int], size: int) -> None:
    message, ends = b"%09d" % length + b"x" * (length - 9), sorted({min(cut, length) for cut in cuts} - {0, length})
    data = frame(1, b"first")
    for number, (start, end) in enumerate(zip([0, *ends], [*ends, length], strict=True)):
        data += frame(0 if number else 1, message[start:end], fin=end == length)
    frames = reader(limit=100)
    first, overflow, last = fed(frames, data + frame(9, b"ping") + frame(1, b"last"), size)
    assert (first, last, frames.ping) == (b"first", b"last", b"ping")
    assert isinstance(overflow, LinkOverflow)
    assert overflow.head == message[:1024]
    assert "limit of 100 bytes" in str(overflow)


@given(st.binary(max_size=200), SIDES)
def test_random_bytes_never_make_the_reader_raise(data: bytes, side: Side) -> None:
    frames = reader(side)
    messages = frames.feed(data)
    assert all(isinstance(each, bytes) for each in messages)
    assert frames.feed(b"\xff" * 20) == [] or not frames.over


BAD = {
    "unmasked": (frame(1, b"{}", mask=False), 1002),
    "binary": (frame(2, b"{}"), 1003),
    "not UTF-8": (frame(1, b'"\xff"'), 1007),
    "not UTF-8 in fragments": (frame(1, b"\xc3", fin=False) + frame(0, b"("), 1007),
    "a reserved bit": (frame(1, b"{}", bits=0x20), 1002),
    "a compressed bit without compression": (frame(1, b"{}", bits=0x40), 1002),
    "a reserved opcode": (b"\x83\x80aaaa", 1002),
    "a reserved control opcode": (b"\x8b\x80aaaa", 1002),
    "a length beyond all": (b"\x81" + b"\xff" * 9 + b"aaaa", 1002),
    "a long ping": (b"\x89\xfe\x00\x7eaaaa" + b"x" * 126, 1002),
    "a ping in fragments": (b"\x09\x80aaaa", 1002),
    "a continuation of nothing": (frame(0, b"{}"), 1002),
    "a message within another": (frame(1, b"{", fin=False) + frame(1, b"{}"), 1002),
    "a long close": (b"\x88\xfe\x00\x7eaaaa" + b"x" * 126, 1002),
    "a close of one byte": (b"\x88\x81aaaaa", 1002),
    "a close with a code that is none": (frame(8, (1005).to_bytes(2)), 1002),
    "a close whose reason is not UTF-8": (frame(8, b"\x03\xe8\xff"), 1007),
}


@pytest.mark.parametrize(("data", "code"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("size", [1, 1000])
def test_an_invalid_frame_ends_the_reading_with_its_close_code(data: bytes, code: int, size: int) -> None:
    frames = reader()
    assert fed(frames, frame(1, b"before") + data + frame(1, b"after"), size) == [b"before"]
    assert frames.fault is not None
    assert frames.fault.code == code
    assert frames.fault.reason


def test_a_masked_frame_of_a_server_is_refused() -> None:
    frames = reader(SERVER)
    frames.feed(frame(1, b"{}"))
    assert frames.fault == Close(1002, "a client masks its frames, a server does not")


@pytest.mark.parametrize("close", [PeerClose(1000, ""), PeerClose(1001, "going h\u00f6me"), PeerClose(4000, "x" * 123)])
def test_the_close_of_the_peer_is_read_and_no_frame_after_it(close: PeerClose) -> None:
    frames = reader()
    assert fed(frames, frame(8, close.serialize()) + frame(1, b"{}"), 3) == []
    assert frames.closed == Close(close.code, close.reason)
    empty = reader()
    empty.feed(frame(8))
    assert empty.closed == Close(1005)


def test_a_compressed_message_over_the_limit_is_a_fault_before_it_is_inflated() -> None:
    writing = peer(CLIENT, compressed=True)
    writing.send_text(b"x" * 10_000_000)
    frames = reader(compressed=True)
    assert frames.feed(b"".join(writing.data_to_send())) == []
    assert frames.fault == Close(1009, "a message is longer than the limit of 20000 bytes (maxFrameBytes)")


def test_a_message_that_cannot_be_inflated_is_a_fault() -> None:
    frames = reader(compressed=True)
    frames.feed(frame(1, b"\xff\xff\xff\xff", bits=0x40))
    assert frames.fault is not None
    assert frames.fault.code == 1007


def test_a_flood_of_empty_fragments_takes_no_memory() -> None:
    frames = reader()
    frames.feed(frame(1, b"{", fin=False))
    for _ in range(1000):
        assert frames.feed(frame(0, b"", fin=False)) == []
    assert frames.feed(frame(0, b"}")) == [b"{}"]


CODE = (1000).to_bytes(2)
FRAMES = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([0x81, 0x01, 0x00, 0x80, 0x89, 0x8A, 0x88]), st.integers(0, 255)),
        st.one_of(st.sampled_from([b"", CODE, b"x" * 126]), st.text(max_size=20).map(str.encode)),
        st.sampled_from([True, True, True, False]),
    ),
    max_size=8,
)


@given(FRAMES, st.integers(1, 50))
def test_frames_that_the_websockets_library_refuses_are_refused_with_the_same_code(
    sent: list[tuple[int, bytes, bool]], size: int
) -> None:
    theirs, ours = peer(SERVER, compressed=False), reader()
    messages: list[bytes | LinkOverflow] = []
    message = b""
    expected: list[bytes] = []
    for first, payload, mask in sent:
        if first & 0x0F == 2 or (first & 0x0F < 2 and payload == CODE):
            continue  # the library takes binary frames, and does not check a text for UTF-8
        plain = frame(1, payload, mask=mask)
        data = bytes([first]) + plain[1:]
        messages += fed(ours, data, size)
        theirs.receive_data(data)
        for event in theirs.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.CONT):
                message += event.data
                if event.fin:
                    expected.append(message)
                    message = b""
    assert messages == expected
    if theirs.close_rcvd is not None:
        assert ours.closed == Close(theirs.close_rcvd.code, theirs.close_rcvd.reason)
    elif theirs.parser_exc is not None:
        assert theirs.close_sent is not None
        assert ours.fault is not None
        assert ours.fault.code == theirs.close_sent.code
    else:
        assert not ours.over

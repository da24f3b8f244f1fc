"""The newline decoder: every line whole and in order from bytes cut anywhere, in the memory of one line."""

from __future__ import annotations

import random
import time

import pytest

from fabric.errors import LinkOverflow
from fabric.links.framing import FLOOD_LINES, LineDecoder, TextDecoder, one_line


def decoded(decoder: LineDecoder, *pieces: bytes) -> list[bytes | str]:
    return ["overflow" if isinstance(line, LinkOverflow) else line for piece in pieces for line in decoder.feed(piece)]


@pytest.mark.parametrize("seed", range(20))
def test_lines_are_decoded_whole_and_in_order_from_bytes_cut_anywhere(seed: int) -> None:
    chance = random.Random(seed)
    lines = [bytes(chance.choices(b"abc{}\r ", k=chance.randint(1, 40))) + b"." for _ in range(200)]
    stream = b"".join(line + chance.choice([b"\n", b"\r\n", b"\n\n"]) for line in lines)
    decoder, read = LineDecoder(64), []
    while stream:
        cut = chance.randint(1, 90)
        read += decoded(decoder, stream[:cut])
        stream = stream[cut:]
    assert read == lines


def test_bytes_one_by_one_and_all_at_once_give_the_same_lines() -> None:
    stream = b"one\r\n\ntwo\n" + b"x" * 9 + b"\nthree\n"
    assert decoded(LineDecoder(8), *(bytes([byte]) for byte in stream)) == [b"one", b"two", "overflow", b"three"]
    assert decoded(LineDecoder(8), stream) == [b"one", b"two", "overflow", b"three"]


def test_a_line_of_the_limit_passes_with_either_line_end_and_a_longer_one_does_not() -> None:
    assert decoded(LineDecoder(4), b"1234\n", b"1234", b"\r\n", b"1234\r", b"\n") == [b"1234", b"1234", b"1234"]
    assert decoded(LineDecoder(4), b"12345\n", b"12345", b"\n", b"12345\r", b"\n") == ["overflow"] * 3


def test_a_line_over_the_limit_is_reported_once_before_it_ends_and_its_rest_is_skipped() -> None:
    decoder = LineDecoder(4)
    assert decoded(decoder, b"123456") == ["overflow"]
    assert decoded(decoder, b"7" * 1000, b"8" * 1000, b"9\nnext\n") == [b"next"]


def test_the_end_completes_a_last_line_without_newline_once() -> None:
    decoder = LineDecoder(16)
    assert decoded(decoder, b"one\ntwo") == [b"one"]
    assert decoder.end() == [b"two"]
    assert decoder.end() == []


def test_the_end_of_a_line_over_the_limit_adds_nothing() -> None:
    decoder = LineDecoder(4)
    assert decoded(decoder, b"123456") == ["overflow"]
    assert decoder.end() == []


def test_decoding_time_is_linear_in_the_bytes_of_a_long_line() -> None:
    def seconds(pieces: int) -> float:
        decoder, piece, start = LineDecoder(1 << 30), b"x" * 64, time.process_time()
        for _ in range(pieces):
            decoder.feed(piece)
        assert len(decoder.end()) == 1
        return time.process_time() - start

    seconds(1000)
    assert seconds(160_000) < 16 * max(seconds(20_000), 0.005)  # quadratic would be 64 times


def test_log_lines_are_cut_off_at_the_limit_and_bad_utf8_is_replaced() -> None:
    decoder = TextDecoder(8)
    assert decoder.feed(b"short\r\n\n0123456789abc\n\xff\nlo") == (["short", "01234567", "�"], 0)
    assert decoder.feed(b"ng and longer" * 1000) == ([], 0)
    assert decoder.end() == ["long and"]


def test_a_flood_of_log_lines_yields_the_first_and_last_ones_and_a_count_of_the_others() -> None:
    decoder = TextDecoder(20)
    decoder.feed(b"line ")
    lines, more = decoder.feed(b"".join(b"%d\nline " % number for number in range(1000)) + b"last")
    assert len(lines) == FLOOD_LINES
    assert more == 1000 - FLOOD_LINES
    assert (lines[:2], lines[-2:]) == (["line 0", "line 1"], ["line 998", "line 999"])
    assert decoder.end() == ["line last"]


def test_raw_newlines_of_a_pretty_printed_frame_become_spaces_and_escaped_ones_stay() -> None:
    assert one_line(b'{\r\n "a": "x\\ny"\n}') == b'{   "a": "x\\ny" }'
    frame = b'{"a":1}'
    assert one_line(frame) is frame


def test_a_flood_of_empty_lines_is_counted_and_hides_no_other_line() -> None:
    for end in (b"\n", b"\r\n"):
        decoder = LineDecoder(100)
        assert decoder.feed(b"a" + end + 50_000 * end + b"b" + end + end + b"c") == [b"a", b"b"]
        assert decoder.empty == 50_001
        assert decoder.feed(50_000 * end + b"d" + end) == [b"c", b"d"]
        assert decoder.feed(50_000 * end) == []
        assert decoder.empty >= 150_000 - 1

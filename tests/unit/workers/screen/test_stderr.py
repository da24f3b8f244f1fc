"""Our stderr: printed lines wait in a bounded queue for a slow reader, and the code that prints does not wait."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from typing import TextIO

import pytest

from workers.screen.stderr import WAITING_WRITES, Stderr

WAIT = 30.0


def dropped(count: int) -> str:
    return f"{count} dropped\n"


def dropped_lines(read: str) -> int:
    return sum(map(int, re.findall(r"^(\d+) dropped$", read, re.MULTILINE)))


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, TextIO]]:
    """A pipe: the end to read, then the end to write."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as writer:
        yield reader, writer


def test_lines_are_written_in_order_and_an_unfinished_line_when_it_is_flushed(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    stderr = Stderr(writer, dropped)
    print("one", 1, file=stderr)
    print("two\nthree", file=stderr)
    print("asks: ", end="", file=stderr, flush=True)
    stderr.drain(WAIT)
    assert os.read(reader.fileno(), 1000) == b"one 1\ntwo\nthree\nasks: "


def test_lines_without_a_reader_are_dropped_and_their_number_is_written_later(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    stderr = Stderr(writer, dropped)
    printed = WAITING_WRITES + 500  # a pipe holds 64 of them
    for _ in range(printed):
        print("x" * 1023, file=stderr)
    print("asked", end="", file=stderr)  # an unfinished line is not queued
    read = ""
    while not (read.endswith("\n") and read.count("x\n") + dropped_lines(read) == printed):
        read += os.read(reader.fileno(), 65536).decode()
    assert read.count("x\n") >= WAITING_WRITES
    stderr.drain(WAIT)
    assert os.read(reader.fileno(), 1000) == b"asked"


def test_drain_returns_after_its_timeout_without_a_reader(pipe: tuple[TextIO, TextIO]) -> None:
    _, writer = pipe
    stderr = Stderr(writer, dropped)
    print("x" * 1_000_000, file=stderr)
    began = time.monotonic()
    stderr.drain(0.05)
    assert 0.05 <= time.monotonic() - began < WAIT


def test_a_non_blocking_descriptor_loses_no_line(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    os.set_blocking(writer.fileno(), False)
    stderr = Stderr(writer, dropped)
    print("x" * 500_000, file=stderr)
    read = 0
    while read < 500_001:
        read += len(os.read(reader.fileno(), 65536))
    stderr.drain(WAIT)


def test_printing_to_a_closed_pipe_neither_raises_nor_waits() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as writer:
        stderr = Stderr(writer, dropped)
        began = time.monotonic()
        print("unread", file=stderr)
        stderr.drain(WAIT)
        assert time.monotonic() - began < WAIT

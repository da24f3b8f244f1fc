"""Our stderr: what is printed waits for its reader in a thread, bounded, and nobody who prints does."""

from __future__ import annotations

import os
import re
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
    """Its end to read, then the one to write."""
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
    printed = WAITING_WRITES + 500  # of which a pipe holds 64
    for _ in range(printed):
        print("x" * 1023, file=stderr)
    print("asked", end="", file=stderr)  # is not queued yet
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
    stderr.drain(0.05)


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
        print("to nobody", file=stderr)
        stderr.drain(WAIT)

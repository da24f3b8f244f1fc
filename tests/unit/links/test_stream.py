"""How long a closing link waits for its peer to read the last bytes."""

from __future__ import annotations

import asyncio

from fabric.links.stream.outgoing import flushed


class Draining:
    """A sink whose peer reads so many bytes each time the sink is examined."""

    def __init__(self, unsent: int, taken: int) -> None:
        self.unsent, self._taken = unsent, taken

    def write(self, data: bytes) -> None:
        self.unsent += len(data)

    def get_write_buffer_size(self) -> int:
        self.unsent = max(0, self.unsent - self._taken)
        return self.unsent

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        self.unsent = 0


async def waited(sink: Draining, *, patience: float, most: float) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await flushed(loop.create_future(), sink, patience=patience, most=most)
    return loop.time() - began


async def test_a_closing_link_waits_for_its_patience_for_a_peer_that_reads_nothing() -> None:
    assert await waited(Draining(100, 0), patience=0.1, most=60.0) >= 0.09


async def test_a_closing_link_waits_until_a_slow_peer_has_read_all() -> None:
    sink = Draining(40, 1)
    assert await waited(sink, patience=0.1, most=60.0) > 0.3
    assert not sink.unsent


async def test_a_closing_link_waits_for_a_slow_peer_no_longer_than_its_limit() -> None:
    sink = Draining(10**9, 1)
    await waited(sink, patience=0.1, most=0.3)
    assert sink.unsent


async def test_a_closing_link_does_not_wait_for_a_peer_that_has_gone() -> None:
    closed = asyncio.get_running_loop().create_future()
    closed.set_result(None)
    await asyncio.wait_for(flushed(closed, Draining(100, 0), patience=600.0), 10)

"""The frames that wait to leave on a byte stream, and how long a peer that does not read them is waited for.

Above it: link.py, and the transports, which say when they have room. Below it: the framing of lines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from fabric.errors import LinkBroken, LinkClosed, LinkError
from fabric.links.framing import lines, one_line

_WRITE_BYTES = 256 * 1024
"""Frames of one turn that reach this size are written at once, so that the peer's slowness is seen in that turn."""
FLUSH_TIMEOUT, FLUSH_TIMEOUT_MOST = 5.0, 30.0
"""Seconds that a closing link waits for a peer that reads nothing more, and at most for one that still reads."""
_LOOKS = 8
"""How often a peer that does not read is checked within `stall_timeout`."""


class Sink(Protocol):
    """Where bytes go to: the part of asyncio.WriteTransport used here."""

    def write(self, data: bytes) -> None:
        """Queue the data, whether there is room or not. Does not block."""

    def get_write_buffer_size(self) -> int:
        """How many of the bytes written have not left."""
        ...

    def is_closing(self) -> bool:
        """Whether the sink is closed, or will be once those bytes have left."""
        ...

    def abort(self) -> None:
        """Close, and drop the bytes that have not left."""


def drop(sink: Sink) -> None:
    """Abort the sink unless it has ended already: asyncio's pipes fail when they are aborted twice."""
    if not sink.is_closing() or sink.get_write_buffer_size():
        sink.abort()


async def flushed(
    gone: asyncio.Future[None], sink: Sink, *, patience: float = FLUSH_TIMEOUT, most: float = FLUSH_TIMEOUT_MOST
) -> None:
    """Wait until the bytes written have left, and a little longer for the peer to be `gone`.

    The wait ends after `patience` seconds in which the peer read nothing, and after `most` seconds in any case.
    """
    tick, waited, quiet = patience / 10, 0.0, 0.0
    unsent = sink.get_write_buffer_size()
    while not gone.done() and quiet < (patience if unsent else 2 * tick) and waited < most:
        await asyncio.wait({gone}, timeout=tick)
        waited += tick
        before, unsent = unsent, sink.get_write_buffer_size()
        quiet = 0.0 if unsent < before else quiet + tick


class OutgoingFrames:
    """Frames that wait to leave. Those of one turn of the loop leave in one write, as `join` makes bytes of them.

    The sink calls `pause` and `resume`. Frames that it has no room for wait here without a bound: the sender sets one, by
    `unsent_bytes` and `drain`. The link breaks when its peer reads nothing of them for `stall_timeout` seconds.
    """

    def __init__(self, stall_timeout: float, join: Callable[[list[bytes]], bytes] = lines) -> None:
        self.unsent: list[bytes] = []
        """After the end, the frames of which no byte has left, in order."""
        self._stall_timeout = stall_timeout
        self._join = join
        self._loop = asyncio.get_running_loop()
        self._frames: list[bytes] = []
        self._bytes = 0
        self._scheduled = False
        self._ready = asyncio.Event()
        self._ready.set()
        self._end: LinkError | None = None
        self._sink: Sink
        self._written = 0
        self._taken, self._taken_at = 0, 0.0  # bytes that a slow peer had read when last checked, and when it last read any
        self._look: asyncio.TimerHandle | None = None
        self._excused: Callable[[], bool] = lambda: False
        self._stalled: Callable[[LinkBroken], None] = lambda _: None

    def attach(self, sink: Sink) -> None:
        """Set the sink; to be called before the first `send`."""
        self._sink = sink

    def watch(self, excused: Callable[[], bool], stalled: Callable[[LinkBroken], None]) -> None:
        """Set the function that is called when the peer stalls. While `excused` returns true, the time does not run."""
        self._excused, self._stalled = excused, stalled

    @property
    def unsent_bytes(self) -> int:
        """How many bytes have not left, here and in the sink."""
        return self._bytes + self._sink.get_write_buffer_size()

    def send(self, frame: bytes) -> None:
        """Queue a frame. Raises the end's error after the end."""
        if self._end is not None:
            if not isinstance(self._end, LinkClosed):
                self.unsent.append(frame)
            raise type(self._end)(*self._end.args)
        self._frames.append(one_line(frame))
        self._bytes += len(frame) + 1
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)
        if self._bytes > _WRITE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the frames that wait, as far as the sink has room: in pieces, because TLS pauses us only between two writes."""
        while self._frames and self._ready.is_set():
            count = len(self._frames) if self._bytes <= _WRITE_BYTES else self._first()
            self._write(count)

    def pause(self) -> None:
        """The sink is full."""
        self._ready.clear()
        if self._look is None:
            self._taken, self._taken_at = self._written - self._sink.get_write_buffer_size(), self._loop.time()
            self._look = self._loop.call_later(self._stall_timeout / _LOOKS, self._judge)

    def resume(self) -> None:
        """The sink has room."""
        self._ready.set()
        self.flush()

    async def drain(self) -> None:
        """Wait until the sink has room. Raises the end's error after the end."""
        if self._bytes > _WRITE_BYTES:
            self.flush()
        while self._end is None and not self._ready.is_set():
            await self._ready.wait()
        if self._end is not None:
            raise type(self._end)(*self._end.args)

    def end(self, error: LinkError) -> None:
        """End the stream: nothing more can leave. The first error counts, unless we close the link."""
        if self._end is None:
            self.unsent = self._frames
        if self._end is None or isinstance(error, LinkClosed):
            self._end = error
        self._frames = []
        self._bytes = 0
        self._ready.set()
        if self._look is not None:
            self._look.cancel()

    def close(self, error: LinkClosed) -> None:
        """Close the stream: hand the frames that wait to the sink, even a full one, and take no more."""
        if self._end is None and self._frames:
            self._write(len(self._frames))
        self.end(error)

    def _turn(self) -> None:
        self._scheduled = False
        self.flush()

    def _judge(self) -> None:
        """Check a peer that did not read: does it still not, and has it read anything since the last check?"""
        self._look = None
        if self._ready.is_set():
            return
        taken, now = self._written - self._sink.get_write_buffer_size(), self._loop.time()
        if taken > self._taken or self._excused():
            self._taken, self._taken_at = taken, now
        if now - self._taken_at >= self._stall_timeout:
            broken = LinkBroken(f"the peer has read nothing for {self._stall_timeout:g} s, while frames waited for it")
            self.end(broken)
            drop(self._sink)
            self._stalled(broken)
        else:
            self._look = self._loop.call_later(self._stall_timeout / _LOOKS, self._judge)

    def _first(self) -> int:
        """How many of the frames make a piece of _WRITE_BYTES."""
        size = 0
        for count, frame in enumerate(self._frames, 1):
            size += len(frame)
            if size > _WRITE_BYTES:
                return count
        return len(self._frames)

    def _write(self, count: int) -> None:
        taken = self._frames[:count]
        del self._frames[:count]
        self._bytes -= sum(map(len, taken)) + len(taken)
        data = self._join(taken)
        self._written += len(data)
        self._sink.write(data)

"""A link over any stream of bytes: what has arrived, what waits to leave, and the Link made of the two.

The halves know nothing of descriptors or sockets. `Source` and `Sink` are the parts of asyncio's transports that they use, so
a pipe, a socket and a pair in memory are wired alike.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Protocol

from fabric.errors import InvalidFrame, LinkBroken, LinkClosed, LinkError, LinkOverflow
from fabric.links.base import LinkInfo
from fabric.links.framing import LineDecoder, lines, one_line
from fabric.links.mending import Mender
from fabric.mcp.jsonrpc import Message, parse

_PAUSE_BYTES = 1024 * 1024
_RESUME_BYTES = 256 * 1024
_WRITE_BYTES = 256 * 1024
"""Frames of one turn that reach this size are written at once, so that the peer's slowness is seen in that turn."""
_TURN_FRAMES = 64
"""Frames of one link that are taken before others have their turn: they are handled as they are taken."""
FLUSH_TIMEOUT, FLUSH_TIMEOUT_MOST = 5.0, 30.0
"""Seconds for which a link that closes waits for a peer that takes nothing of what it was sent last; for one that does."""
_LOOKS = 8
"""How often a peer that is full is looked at within the time it may take nothing."""
_FRAME_OVERHEAD_BYTES = 64
"""What a queued frame costs besides its bytes, so that a flood of tiny ones is bounded too."""


class Source(Protocol):
    """Where bytes come from: the part of asyncio.ReadTransport used here."""

    def pause_reading(self) -> None:
        """Feed no more."""

    def resume_reading(self) -> None:
        """Feed again, after a pause."""


class Sink(Protocol):
    """Where bytes go to: the part of asyncio.WriteTransport used here."""

    def write(self, data: bytes) -> None:
        """Does not block, whether there is room or not."""

    def get_write_buffer_size(self) -> int:
        """Bytes written that have not left."""
        ...

    def is_closing(self) -> bool:
        """It is closed, or will be when they have left."""
        ...

    def abort(self) -> None:
        """Close and drop them."""


def drop(sink: Sink) -> None:
    """Abort it unless it has ended already: asyncio's pipes cannot bear being aborted twice."""
    if not sink.is_closing() or sink.get_write_buffer_size():
        sink.abort()


async def flushed(
    gone: asyncio.Future[None], sink: Sink, *, patience: float = FLUSH_TIMEOUT, most: float = FLUSH_TIMEOUT_MOST
) -> None:
    """Wait until what was written has left, and a little more for the far end to be `gone`.

    A peer that takes nothing of it is waited for `patience` seconds, one that is slow `most`.
    """
    tick, waited, quiet = patience / 10, 0.0, 0.0
    unsent = sink.get_write_buffer_size()
    while not gone.done() and quiet < (patience if unsent else 2 * tick) and waited < most:
        await asyncio.wait({gone}, timeout=tick)
        waited += tick
        before, unsent = unsent, sink.get_write_buffer_size()
        quiet = 0.0 if unsent < before else quiet + tick


class IncomingFrames:
    """Frames that have arrived. The source is paused above 1 MiB and resumed below 256 KiB; one error ends it."""

    def __init__(self, max_frame_bytes: int) -> None:
        self.paused = False
        self.on_empty: Callable[[int], None] | None = None  # hears how many empty lines were dropped, of those side by side
        self._decoder = LineDecoder(max_frame_bytes)
        self._frames: deque[bytes | LinkOverflow] = deque()
        self._bytes = 0
        self._end: LinkError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._source: Source

    def attach(self, source: Source) -> None:
        """Before anything is fed."""
        self._source = source

    def feed(self, data: bytes) -> None:
        """Bytes arrived. After the end they are dropped, so that a closing peer can still empty its buffers."""
        if self._end is None:
            before = self._decoder.empty
            self.put(self._decoder.feed(data))
            if self.on_empty is not None and self._decoder.empty > before:
                self.on_empty(self._decoder.empty - before)

    def put(self, frames: list[bytes | LinkOverflow]) -> None:
        """Whole frames arrived, where a transport has a framing of its own; as `feed`."""
        if self._end is None:
            self._keep(frames)
            if self._bytes > _PAUSE_BYTES and not self.paused:
                self.paused = True
                self._source.pause_reading()

    def end(self, error: LinkError) -> None:
        """No more will come: `take` raises `error` after the frames that are there. The first end counts."""
        if self._end is None:
            self._keep(self._decoder.end())
            self._end = error
            self._wake()

    def close(self, error: LinkClosed) -> None:
        """We closed: what is there is dropped."""
        self._end = error
        self._frames.clear()
        self._bytes = 0
        self._resume()
        self._wake()

    def take(self) -> bytes | None:
        """The next frame, or None if none is there yet. Raises LinkOverflow in the place of one too long, and the end."""
        if not self._frames:
            if self._end is not None:
                raise type(self._end)(*self._end.args)
            return None
        frame = self._frames.popleft()
        if isinstance(frame, LinkOverflow):
            raise frame
        self._bytes -= len(frame) + _FRAME_OVERHEAD_BYTES
        if self.paused and self._bytes < _RESUME_BYTES:
            self._resume()
        return frame

    @property
    def over(self) -> bool:
        """The end has come, and nothing is left before it."""
        return self._end is not None and not self._frames

    def arrival(self) -> asyncio.Future[None]:
        """Done when there is something to take. For one reader; may be cancelled."""
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def _keep(self, frames: list[bytes | LinkOverflow]) -> None:
        for frame in frames:
            if isinstance(frame, bytes):
                self._bytes += len(frame) + _FRAME_OVERHEAD_BYTES
        if frames:
            self._frames.extend(frames)
            self._wake()

    def _resume(self) -> None:
        if self.paused:
            self.paused = False
            self._source.resume_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class OutgoingFrames:
    """Frames that wait to leave: those of one turn of the loop leave in one write, framed by `join`: each with its newline.

    The sink says by pause and resume whether it takes more; what it does not take waits here, and how much that may be is for
    whoever sends to say (`unsent_bytes`, `drain`). A peer that has taken nothing of it for `stall_timeout` seconds is given up.
    """

    def __init__(self, stall_timeout: float, join: Callable[[list[bytes]], bytes] = lines) -> None:
        self.unsent: list[bytes] = []
        """After the end: the frames of which no byte has left, in order."""
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
        self._taken, self._taken_at = 0, 0.0  # at the last look at a slow peer
        self._look: asyncio.TimerHandle | None = None
        self._excused: Callable[[], bool] = lambda: False
        self._stalled: Callable[[LinkBroken], None] = lambda _: None

    def attach(self, sink: Sink) -> None:
        """Before anything is sent."""
        self._sink = sink

    def watch(self, excused: Callable[[], bool], stalled: Callable[[LinkBroken], None]) -> None:
        """Tell `stalled` of a peer that is given up. While it is `excused`, the time does not run."""
        self._excused, self._stalled = excused, stalled

    @property
    def unsent_bytes(self) -> int:
        """What the peer has not taken, here and in the sink."""
        return self._bytes + self._sink.get_write_buffer_size()

    def send(self, frame: bytes) -> None:
        """Queue a frame. Raises the end."""
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
        """Write what waits, if the sink takes it: in pieces, as TLS says that it is full only when it is asked again."""
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
        """Wait until the sink takes more. Raises the end."""
        if self._bytes > _WRITE_BYTES:
            self.flush()
        while self._end is None and not self._ready.is_set():
            await self._ready.wait()
        if self._end is not None:
            raise type(self._end)(*self._end.args)

    def end(self, error: LinkError) -> None:
        """Nothing more can leave. The first end counts, but that we closed counts more."""
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
        """We close: hand what waits to the sink, which may be full, and take no more."""
        if self._end is None and self._frames:
            self._write(len(self._frames))
        self.end(error)

    def _turn(self) -> None:
        self._scheduled = False
        self.flush()

    def _judge(self) -> None:
        """Look at a peer that was slow: is it still, and has it taken anything since?"""
        self._look = None
        if self._ready.is_set():
            return
        taken, now = self._written - self._sink.get_write_buffer_size(), self._loop.time()
        if taken > self._taken or self._excused():
            self._taken, self._taken_at = taken, now
        if now - self._taken_at >= self._stall_timeout:
            broken = LinkBroken(f"the peer has read nothing of what waits for it for {self._stall_timeout:g} s")
            self.end(broken)
            drop(self._sink)
            self._stalled(broken)
        else:
            self._look = self._loop.call_later(self._stall_timeout / _LOOKS, self._judge)

    def _first(self) -> int:
        """How many frames make a piece."""
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


class StreamLink:
    """The Link of base.py over an Incoming and an Outgoing. `shut` closes what is below them, in bounded time.

    A server that does not read while it waits to be read itself is not given up for that; a client is. mender: of a server's
    link, finds the messages in frames that are none. With `on_noise`, frames in which there are none go there instead of
    raising InvalidFrame.
    """

    def __init__(
        self,
        info: LinkInfo,
        incoming: IncomingFrames,
        outgoing: OutgoingFrames,
        shut: Callable[[], Coroutine[None, None, None]],
        on_noise: Callable[[bytes], None] | None = None,
        mender: Mender | None = None,
    ) -> None:
        self._info = info
        self._incoming = incoming
        self._outgoing = outgoing
        self._shut = shut
        self._on_noise = on_noise
        self._mender = mender
        self._mended: deque[Message] = deque()
        self._closing: asyncio.Task[None] | None = None
        self._taken = 0  # since others had their turn
        to_server = not info.server
        outgoing.watch(excused=lambda: to_server and incoming.paused, stalled=incoming.end)

    @property
    def info(self) -> LinkInfo:
        """What is known of the link."""
        return self._info

    @property
    def unsent_bytes(self) -> int:
        """As base.Link.unsent_bytes."""
        return self._outgoing.unsent_bytes

    @property
    def unsent(self) -> list[bytes]:
        """As base.Link.unsent."""
        return self._outgoing.unsent

    async def receive(self) -> Message:
        """As base.Link.receive. Of a peer that sends without a pause it takes a share, and lets others come to theirs."""
        while not self._mended:
            self._taken += 1
            if self._taken > _TURN_FRAMES:
                self._taken = 0
                await asyncio.sleep(0)
            frame = self._incoming.take()
            if frame is None:
                await self._incoming.arrival()
                self._taken = 0
                continue
            try:
                return parse(frame)
            except InvalidFrame:
                if self._mender is not None and not self._incoming.over:  # else it may be what an end has left of a line
                    self._mended.extend(self._mender.take(frame))
                if self._mended:
                    continue
                if self._on_noise is None:
                    raise
                self._on_noise(frame)
        return self._mended.popleft()

    def send(self, frame: bytes, *, event: str = "", final: bool = False) -> None:  # noqa: ARG002 - of HTTP's streams only
        """As base.Link.send."""
        self._outgoing.send(frame)

    async def drain(self) -> None:
        """As base.Link.drain."""
        await self._outgoing.drain()

    async def aclose(self) -> None:
        """As base.Link.aclose. Cancelling it does not stop the closing."""
        if self._closing is None:
            closed = LinkClosed(f"the {self._info.transport} link {self._info.id} is closed")
            self._incoming.close(closed)
            self._outgoing.close(closed)
            self._closing = asyncio.create_task(self._shut())
        await asyncio.shield(self._closing)

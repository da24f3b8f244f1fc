"""A link over any byte stream: the frames that have arrived, the frames that wait to leave, and the Link made of both.

Neither half knows descriptors or sockets. `Source` and `Sink` are the parts of asyncio's transports that they use, so stdio,
sockets, WebSockets and the pair in memory are connected in the same way.
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
"""Frames that one link hands out before it yields to the event loop: each is handled as soon as it is received."""
FLUSH_TIMEOUT, FLUSH_TIMEOUT_MOST = 5.0, 30.0
"""Seconds that a closing link waits for a peer that reads nothing more, and at most for one that still reads."""
_LOOKS = 8
"""How often a peer that does not read is checked within `stall_timeout`."""
_FRAME_OVERHEAD_BYTES = 64
"""Memory that a queued frame takes besides its bytes, counted so that a flood of tiny frames is bounded too."""


class Source(Protocol):
    """Where bytes come from: the part of asyncio.ReadTransport used here."""

    def pause_reading(self) -> None:
        """Stop feeding."""

    def resume_reading(self) -> None:
        """Feed again, after a pause."""


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


class IncomingFrames:
    """Frames that have arrived, in order. The source is paused above 1 MiB and resumed below 256 KiB."""

    def __init__(self, max_frame_bytes: int) -> None:
        self.paused = False
        """Whether the source is paused."""
        self.on_empty: Callable[[int], None] | None = None
        """Called with the number of empty lines that were dropped, of those that arrived side by side."""
        self._decoder = LineDecoder(max_frame_bytes)
        self._frames: deque[bytes | LinkOverflow] = deque()
        self._bytes = 0
        self._end: LinkError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._source: Source

    def attach(self, source: Source) -> None:
        """Set the source; to be called before the first `feed`."""
        self._source = source

    def feed(self, data: bytes) -> None:
        """Take in bytes that arrived. After the end they are dropped, so that a closing peer can still empty its buffers."""
        if self._end is None:
            before = self._decoder.empty
            self.put(self._decoder.feed(data))
            if self.on_empty is not None and self._decoder.empty > before:
                self.on_empty(self._decoder.empty - before)

    def put(self, frames: list[bytes | LinkOverflow]) -> None:
        """Take in whole frames, from a transport that has a framing of its own; else as `feed`."""
        if self._end is None:
            self._keep(frames)
            if self._bytes > _PAUSE_BYTES and not self.paused:
                self.paused = True
                self._source.pause_reading()

    def end(self, error: LinkError) -> None:
        """End the stream: `take` raises `error` after the frames that have arrived. Only the first call counts."""
        if self._end is None:
            self._keep(self._decoder.end())
            self._end = error
            self._wake()

    def close(self, error: LinkClosed) -> None:
        """Drop the frames that have arrived: we closed the link, and `take` raises `error` from now on."""
        self._end = error
        self._frames.clear()
        self._bytes = 0
        self._resume()
        self._wake()

    def take(self) -> bytes | None:
        """The next frame, None if none has arrived. Raises LinkOverflow in place of a frame too long, and the end's error."""
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
        """Whether the stream has ended and all its frames were taken."""
        return self._end is not None and not self._frames

    def arrival(self) -> asyncio.Future[None]:
        """A future that is done when there is something to take. For one reader, which may cancel it."""
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


class StreamLink:
    """The Link of base.py over IncomingFrames and OutgoingFrames.

    A server that does not read because it waits for us to read does not stall the link; a client that does so stalls it.
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
        """shut: closes the transport below, in bounded time.

        on_noise: called with each frame that holds no message; without it, such a frame raises InvalidFrame. mender: on a
        server's link, finds the messages within frames that cannot be parsed.
        """
        self._info = info
        self._incoming = incoming
        self._outgoing = outgoing
        self._shut = shut
        self._on_noise = on_noise
        self._mender = mender
        self._mended: deque[Message] = deque()
        self._closing: asyncio.Task[None] | None = None
        self._taken = 0  # frames handed out since the event loop last had its turn
        to_server = not info.server
        outgoing.watch(excused=lambda: to_server and incoming.paused, stalled=incoming.end)

    @property
    def info(self) -> LinkInfo:
        """What is known of the link."""
        return self._info

    @property
    def unsent_bytes(self) -> int:
        """See base.Link.unsent_bytes."""
        return self._outgoing.unsent_bytes

    @property
    def unsent(self) -> list[bytes]:
        """See base.Link.unsent."""
        return self._outgoing.unsent

    async def receive(self) -> Message:
        """See base.Link.receive. While a peer sends without a pause, it yields to the event loop after each _TURN_FRAMES."""
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
                if self._mender is not None and not self._incoming.over:  # else it may be a line cut off by the end
                    self._mended.extend(self._mender.take(frame))
                if self._mended:
                    continue
                if self._on_noise is None:
                    raise
                self._on_noise(frame)
        return self._mended.popleft()

    def send(self, frame: bytes, *, event: str = "", final: bool = False) -> None:  # noqa: ARG002 - for HTTP's streams only
        """See base.Link.send."""
        self._outgoing.send(frame)

    async def drain(self) -> None:
        """See base.Link.drain."""
        await self._outgoing.drain()

    async def aclose(self) -> None:
        """See base.Link.aclose. Cancelling it does not stop the closing."""
        if self._closing is None:
            closed = LinkClosed(f"the {self._info.transport} link {self._info.id} is closed")
            self._incoming.close(closed)
            self._outgoing.close(closed)
            self._closing = asyncio.create_task(self._shut())
        await asyncio.shield(self._closing)

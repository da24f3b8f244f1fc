"""The frames that have arrived on a byte stream and wait to be received.

Above it: link.py, and the transports, which feed it. Below it: the framing of lines.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from fabric.errors import LinkClosed, LinkError, LinkOverflow
from fabric.links.framing import LineDecoder

_PAUSE_BYTES = 1024 * 1024
_RESUME_BYTES = 256 * 1024
_FRAME_OVERHEAD_BYTES = 64
"""Memory that a queued frame takes besides its bytes, counted so that a flood of tiny frames is bounded too."""


class Source(Protocol):
    """Where bytes come from: the part of asyncio.ReadTransport used here."""

    def pause_reading(self) -> None:
        """Stop feeding."""

    def resume_reading(self) -> None:
        """Feed again, after a pause."""


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

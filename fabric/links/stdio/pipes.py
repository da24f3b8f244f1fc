"""Reads and writes descriptors: pipes and sockets by the event loop's transports, files and terminals by other means.

No event loop watches a regular file, and uvloop watches neither /dev/null nor a terminal. A thread reads those, and they are
written directly, which blocks no longer than a disk or a terminal does. Above it: server.py and own_streams.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import stat
import threading
from collections.abc import Callable
from typing import Protocol

from fabric.links.stream.incoming import Source
from fabric.links.stream.outgoing import OutgoingFrames, Sink

Ended = Callable[[], None]
"""Called once, when the other end is gone or the source was closed."""

Unwritable = Callable[[OSError | None], None]
"""Called once, when the other end is gone or the sink was closed; with the descriptor's error, if it has one."""


class ClosableSource(Source, Protocol):
    """A source that its owner closes."""

    def close(self) -> None:
        """Close the source, also while data is on its way."""


class ClosableSink(Sink, Protocol):
    """A sink that its owner closes."""

    def close(self) -> None:
        """Close the sink, once the bytes written have left."""


async def open_source(fd: int, feed: Callable[[bytes], None], ended: Ended) -> ClosableSource:
    """Read from `fd`, which is closed with the source or by a failure here."""
    if not _watchable(fd):
        return _ThreadSource(fd, feed, ended)
    file = os.fdopen(fd, "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: _Reading(feed, ended), file)
    return transport


async def open_sink(fd: int, outgoing: OutgoingFrames, ended: Unwritable) -> ClosableSink:
    """Let `outgoing` write to `fd`, which is closed with the sink or by a failure here."""
    sink: ClosableSink
    if _watchable(fd):
        file = os.fdopen(fd, "wb", buffering=0)
        sink, _ = await asyncio.get_running_loop().connect_write_pipe(lambda: _Writing(outgoing, ended), file)
    else:
        sink = _DirectSink(fd, ended)
    outgoing.attach(sink)
    return sink


def _watchable(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class _Reading(asyncio.Protocol):
    def __init__(self, feed: Callable[[bytes], None], ended: Ended) -> None:
        self._feed, self._ended = feed, ended

    def data_received(self, data: bytes) -> None:
        self._feed(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the process's exit says why
        self._ended()


class _Writing(asyncio.BaseProtocol):
    def __init__(self, outgoing: OutgoingFrames, ended: Unwritable) -> None:
        self._outgoing, self._ended = outgoing, ended

    def pause_writing(self) -> None:
        self._outgoing.pause()

    def resume_writing(self) -> None:
        self._outgoing.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(exc if isinstance(exc, OSError) else None)


class _ThreadSource:
    """A thread that reads one chunk at a time and waits until the loop has taken it. `close` wakes it."""

    def __init__(self, fd: int, feed: Callable[[bytes], None], ended: Ended) -> None:
        self._fd, self._feed, self._ended = fd, feed, ended
        self._loop = asyncio.get_running_loop()
        self._credit = threading.Semaphore(1)
        self._paused = False
        self._closed, self._close = os.pipe()
        # A daemon thread, so that a process that ends without closing its links does not wait for its terminal.
        threading.Thread(target=self._read, name=f"read fd {fd}", daemon=True).start()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._credit.release()

    def close(self) -> None:
        if self._close >= 0:
            os.close(self._close)
            self._close = -1
            self._credit.release()

    def _read(self) -> None:
        data = b"-"
        with contextlib.suppress(RuntimeError):  # the loop is closed
            while data:
                self._credit.acquire()
                ready, _, _ = select.select([self._fd, self._closed], [], [])
                data = b""
                if self._closed not in ready:
                    with contextlib.suppress(OSError):  # a terminal that hung up has ended
                        data = os.read(self._fd, 65536)
                self._loop.call_soon_threadsafe(self._take, data)
        os.close(self._fd)
        os.close(self._closed)

    def _take(self, data: bytes) -> None:
        if not data:
            self._ended()
            return
        self._feed(data)
        if not self._paused:
            self._credit.release()


class _DirectSink:
    """A sink that writes at once, and blocks until that is done."""

    def __init__(self, fd: int, ended: Unwritable) -> None:
        self._fd, self._ended = fd, ended
        os.set_blocking(fd, True)

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest and self._fd >= 0:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            self._close(error)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self._fd < 0

    def close(self) -> None:
        self._close(None)

    abort = close

    def _close(self, error: OSError | None) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._ended(error)

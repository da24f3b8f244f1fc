"""A session's way to its server, as load.py uses it: connections that hear messages, and how a message travels on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast
from urllib.parse import urlsplit

import msgspec

LEGACY, MODERN = "2025-11-25", "2026-07-28"
STEP_TIMEOUT = 60.0
"""Seconds for one step of a handshake, a server's start included."""


class ReplyError(Exception):
    """A reply that is not the answer to what was asked."""


class _Seen(msgspec.Struct):
    id: msgspec.Raw = msgspec.Raw()
    method: str = ""


_seen = msgspec.json.Decoder(_Seen)


def endpoint(url: str) -> tuple[str, int]:
    """The host and port of a URL."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def is_response(message: bytes) -> bool:
    """It is neither a notification nor a request. Raises DecodeError."""
    return bool((seen := _seen.decode(message)).id) and not seen.method


class Connection(asyncio.Protocol):
    """One connection: `heard` is called with each JSON-RPC message, `failed` with what ended it."""

    write: Callable[[bytes], None]
    close: Callable[[], None]

    def __init__(self) -> None:
        self.heard: Callable[[bytes], None] = lambda _: None
        self.failed: Callable[[Exception], None] = lambda _: None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        transport = cast("asyncio.WriteTransport", transport)  # uvloop's own class is none of asyncio's
        self.write, self.close = transport.write, transport.close

    def data_received(self, data: bytes) -> None:
        """Take what is whole, keep the rest."""
        data = self._buffer + data if self._buffer else data
        try:
            self._buffer = self.take(data)
        except (ReplyError, ValueError, IndexError, msgspec.DecodeError) as error:
            self.failed(error if isinstance(error, ReplyError) else ReplyError(f"{error}: {data[:1000]!r}"))

    def take(self, data: bytes) -> bytes:
        """Tell `heard` of every message that is whole; returns the rest. Raises ReplyError."""
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:
        """The server is not to close while we talk."""
        self.failed(exc or ConnectionError("the server closed the connection"))

    async def until(self, write: bytes, done: Callable[[bytes], bool]) -> bytes:
        """Write, and wait for the first message that is `done`. Raises ReplyError, ConnectionError, TimeoutError."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def failed(error: Exception) -> None:
            if not future.done():
                future.set_exception(error)

        def heard(message: bytes) -> None:
            if not future.done() and done(message):
                future.set_result(message)

        self.heard, self.failed = heard, failed
        self.write(write)
        await asyncio.wait({future}, timeout=STEP_TIMEOUT)
        if not future.done():
            raise TimeoutError(f"no answer within {STEP_TIMEOUT:g} s to {write[-300:]!r}")
        return future.result()


class Wire(Protocol):
    """What load.py needs of a transport, for one session. All raise ReplyError, ConnectionError and TimeoutError."""

    @property
    def connections(self) -> list[Connection]:
        """Where calls go, each answered on the connection it came by."""
        ...

    @property
    def depth(self) -> int:
        """Calls in flight on each."""
        ...

    @property
    def pids(self) -> list[int]:
        """What was started for this session."""
        ...

    def packed(self, body: bytes, method: str, name: str) -> bytes:
        """A message as it travels; those of one method, name and length differ in nothing but the body in them."""
        ...

    async def ask(self, body: bytes, method: str) -> bytes:
        """Send a request; the response to it."""
        ...

    async def tell(self, body: bytes, method: str) -> None:
        """Send a notification."""
        ...

    async def end(self) -> None:
        """Close, and see that the session's processes do not burden the next run."""
        ...


class Duplex:
    """The wire of one connection that carries all of a session both ways."""

    def __init__(self, connection: Connection, depth: int) -> None:
        self.connections, self.depth = [connection], depth
        self.pids: list[int] = []

    def packed(self, body: bytes, method: str, name: str) -> bytes:
        """As Wire.packed."""
        raise NotImplementedError

    async def ask(self, body: bytes, method: str) -> bytes:
        """As Wire.ask."""
        return await self.connections[0].until(self.packed(body, method, ""), is_response)

    async def tell(self, body: bytes, method: str) -> None:
        """As Wire.tell."""
        self.connections[0].write(self.packed(body, method, ""))

    async def end(self) -> None:
        """As Wire.end."""
        self.connections[0].failed = lambda _: None
        self.connections[0].close()

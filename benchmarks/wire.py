"""The interface of a session's connections to a server, as load.py uses it; each transport implements it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast
from urllib.parse import urlsplit

import msgspec

LEGACY, MODERN = "2025-11-25", "2026-07-28"
STEP_TIMEOUT = 60.0
"""Seconds for one step of a handshake, including the start of a server."""


class ReplyError(Exception):
    """A reply that is not the answer to the request."""


class _Envelope(msgspec.Struct):
    id: msgspec.Raw = msgspec.Raw()
    method: str = ""


_envelope = msgspec.json.Decoder(_Envelope)


def endpoint(url: str) -> tuple[str, int]:
    """The host and port of a URL."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def is_response(message: bytes) -> bool:
    """Whether the message is neither a notification nor a request. Raises DecodeError."""
    return bool((decoded := _envelope.decode(message)).id) and not decoded.method


class Connection(asyncio.Protocol):
    """One connection. It calls `on_message` with each JSON-RPC message, and `on_failure` with the error that ended it."""

    write: Callable[[bytes], None]
    close: Callable[[], None]

    def __init__(self) -> None:
        self.on_message: Callable[[bytes], None] = lambda _: None
        self.on_failure: Callable[[Exception], None] = lambda _: None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        transport = cast("asyncio.WriteTransport", transport)  # uvloop's class does not derive from asyncio's
        self.write, self.close = transport.write, transport.close

    def data_received(self, data: bytes) -> None:
        """Take the complete messages, keep the rest."""
        data = self._buffer + data if self._buffer else data
        try:
            self._buffer = self.take(data)
        except (ReplyError, ValueError, IndexError, msgspec.DecodeError) as error:
            self.on_failure(error if isinstance(error, ReplyError) else ReplyError(f"{error}: {data[:1000]!r}"))

    def take(self, data: bytes) -> bytes:
        """Call `on_message` with every complete message; returns the rest. Raises ReplyError."""
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail: the server must not close during a run."""
        self.on_failure(exc or ConnectionError("the server closed the connection"))

    async def until(self, write: bytes, done: Callable[[bytes], bool]) -> bytes:
        """Write, and wait for the first message for which `done` holds. Raises ReplyError, ConnectionError, TimeoutError."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def fail(error: Exception) -> None:
            if not future.done():
                future.set_exception(error)

        def receive(message: bytes) -> None:
            if not future.done() and done(message):
                future.set_result(message)

        self.on_message, self.on_failure = receive, fail
        self.write(write)
        await asyncio.wait({future}, timeout=STEP_TIMEOUT)
        if not future.done():
            raise TimeoutError(f"no answer within {STEP_TIMEOUT:g} s to {write[-300:]!r}")
        return future.result()


class Wire(Protocol):
    """One session over a transport. All methods raise ReplyError, ConnectionError and TimeoutError."""

    @property
    def connections(self) -> list[Connection]:
        """The connections for calls; each call is answered on its own connection."""
        ...

    @property
    def depth(self) -> int:
        """Calls in flight on each connection."""
        ...

    @property
    def pids(self) -> list[int]:
        """The processes that were started for this session."""
        ...

    def packed(self, body: bytes, method: str, name: str) -> bytes:
        """The bytes of a message; those of one method, name and length of body differ only in the body."""
        ...

    async def request(self, body: bytes, method: str) -> bytes:
        """Send a request; its response."""
        ...

    async def notify(self, body: bytes, method: str) -> None:
        """Send a notification."""
        ...

    async def end(self) -> None:
        """Close the session, and wait until its processes have ended."""
        ...


class Duplex:
    """A session over one connection that carries all messages both ways."""

    def __init__(self, connection: Connection, depth: int) -> None:
        self.connections, self.depth = [connection], depth
        self.pids: list[int] = []

    def packed(self, body: bytes, method: str, name: str) -> bytes:
        """As Wire.packed."""
        raise NotImplementedError

    async def request(self, body: bytes, method: str) -> bytes:
        """As Wire.request."""
        return await self.connections[0].until(self.packed(body, method, ""), is_response)

    async def notify(self, body: bytes, method: str) -> None:
        """As Wire.notify."""
        self.connections[0].write(self.packed(body, method, ""))

    async def end(self) -> None:
        """As Wire.end."""
        self.connections[0].on_failure = lambda _: None
        self.connections[0].close()

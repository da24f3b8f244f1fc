"""One HTTP connection: uvicorn's parser, pipelining and keep-alive, with answers written at once instead of through ASGI.

ASGI would cost a second task per request to hear a client leave, and a queue to send from synchronous code. uvicorn's
httptools protocol has the two seams that are needed: connection_lost, and the place where it starts an application.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

KEEP_ALIVE_TIMEOUT = 75
"""Seconds an idle connection stays open: longer than clients keep theirs, so that it is they who close it."""

Serve = Callable[["Connection", RequestResponseCycle], Coroutine[Any, Any, None]]
"""What becomes of a request whose headers have arrived."""


class Connection(HttpToolsProtocol):
    """A client's connection; `peer` is its other end, for people.

    on_lost: to be called when it ends; set by the request that is being served. refused: called with 400 at malformed HTTP.
    """

    def __init__(self, config: Config, state: ServerState, serve: Serve, refused: Callable[[int], None]) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self._serve = serve
        self._refused = refused
        self.on_lost: Callable[[], None] | None = None
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The word of asyncio that a client is here."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows the type, TCP gives no other
        self.peer = f"{self.client[0]}:{self.client[1]}" if self.client else ""

    def connection_lost(self, exc: Exception | None) -> None:
        """The word of asyncio that the connection is gone, whoever ended it."""
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP; uvicorn closes the connection after it."""
        self._refused(400)
        super().send_400_response(msg)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ARG002 (the signature is uvicorn's)
        task = self.loop.create_task(self._serve(self, cycle))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class Response:
    """The answer to one request, written straight to the transport: whole, or as a stream. Writes after its end are lost."""

    __slots__ = ("_cycle", "_pending", "lines", "streaming")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._pending: list[bytes] = []
        self.lines = b""
        """Header lines every answer to this request carries, each ended by CR LF."""
        self.streaming = False

    def whole(self, status: int, lines: bytes, body: bytes) -> None:
        """Send all of it, with Content-Length."""
        if self._cycle.waiting_for_100_continue:
            self._cycle.keep_alive = False  # whether the body that was announced still comes cannot be known
        head = self._head(status, lines + b"content-length: %d\r\n" % len(body))
        self._cycle.transport.write(head if self._cycle.scope["method"] == "HEAD" else head + body)
        self._complete()

    def open(self, lines: bytes) -> None:
        """Begin a stream: status 200 and the headers; `write` and `end` follow."""
        self.streaming = True
        chunked = self._cycle.scope["http_version"] == "1.1"  # to older clients the connection's end is the stream's
        self._cycle.chunked_encoding = chunked
        self._queue(self._head(200, lines + b"transfer-encoding: chunked\r\n" if chunked else lines))

    def write(self, data: bytes) -> None:
        """Send a piece of the stream. What is written in one turn of the loop leaves in one write."""
        self._queue(b"%x\r\n%b\r\n" % (len(data), data) if self._cycle.chunked_encoding else data)

    def end(self) -> None:
        """End the stream."""
        self._pending.append(b"0\r\n\r\n" if self._cycle.chunked_encoding else b"")
        self._flush()
        self._complete()

    @property
    def unsent_bytes(self) -> int:
        """What the client has not taken of earlier turns."""
        return self._cycle.transport.get_write_buffer_size()

    async def drain(self) -> None:
        """Wait until little is unsent, or the connection is gone."""
        await self._cycle.flow.drain()

    def abort(self) -> None:
        """Drop the connection and what is unsent."""
        self._cycle.transport.abort()

    def _queue(self, data: bytes) -> None:
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._flush)
        self._pending.append(data)

    def _flush(self) -> None:
        if self._pending and not self._cycle.transport.is_closing():
            self._cycle.transport.write(b"".join(self._pending))
        self._pending.clear()

    def _head(self, status: int, lines: bytes) -> bytes:
        self._cycle.response_started = True
        close = b"" if self._cycle.keep_alive else b"connection: close\r\n"
        return b"%b%b%b%b%b\r\n" % (STATUS_LINE[status], lines, self.lines, _date_line(), close)

    def _complete(self) -> None:
        """What uvicorn does when an answer is over: close, or take the next request."""
        cycle = self._cycle
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        cycle.on_response = _nothing  # a bound method of the connection, which holds the cycle


def _nothing() -> None:
    """What is left to do after the end."""


class _Clock:
    """The Date header's line, formatted once a second (RFC 9110 6.6.1 asks for it)."""

    second = 0
    line = b""


def _date_line() -> bytes:
    second = int(time.time())
    if second != _Clock.second:
        _Clock.second, _Clock.line = second, b"date: " + formatdate(second, usegmt=True).encode() + b"\r\n"
    return _Clock.line

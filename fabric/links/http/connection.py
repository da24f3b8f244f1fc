"""One HTTP connection of a client: requests are served one at a time, answers leave in order, and every wait has a limit.

A client that ends its side of the connection counts as disconnected, even if it could still read: most clients disconnect like
that. Above it: service.py. Below it: request_reader.py and response_head.py, which parse and write HTTP/1.1.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import msgspec

from fabric.faults import Reason
from fabric.links.http.request_reader import Request, RequestReader
from fabric.links.http.response import SECURE, Response, refuse, too_large
from fabric.links.http.response_head import CHUNKED, CLOSE, CONTINUE, LAST_CHUNK, chunk, head

MAX_AHEAD_BYTES = 64 * 1024
"""How much a client may send behind a request that is not answered yet. Above that nothing is read, not even its disconnect."""

_FAULTS = {
    400: refuse(400, Reason.INVALID, "this is not HTTP/1.1 as RFC 9112 defines it"),
    408: refuse(408, Reason.INVALID, "the request did not arrive in time"),
    431: refuse(431, Reason.TOO_LARGE, "the head of this request is too long"),
    501: refuse(501, Reason.INVALID, "the only Transfer-Encoding supported here is chunked"),
    505: refuse(505, Reason.INVALID, "the only versions supported here are HTTP/1.1 and HTTP/1.0"),
}


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of each connection. Times are seconds."""

    max_body_bytes: int
    """The longest body of a request."""
    idle_timeout: float
    """How long a connection may wait for its next request."""
    request_timeout: float
    """How long a request's head may take, and each further piece of its body."""
    keep_alive_timeout: float
    """How long a stream may be silent before `keep_alive` is called."""
    stall_timeout: float
    """How long a client may read nothing of the answers that wait for it."""


class ActiveRequest(Protocol):
    """The request that a connection is serving."""

    def disconnected(self) -> None:
        """The client has disconnected."""
        ...

    def keep_alive(self) -> None:
        """The client has been sent nothing for `keep_alive_timeout`."""
        ...


class Service(Protocol):
    """Decides about the requests of all connections."""

    now: float
    """A coarse clock, in seconds."""
    limits: ConnectionLimits
    """The limits of each connection."""

    def opened(self, connection: HttpConnection) -> None:
        """A client has connected."""
        ...

    def judge(self, connection: HttpConnection, request: Request) -> Response | None:
        """The answer to a request that its head alone decides; None if the request is allowed."""
        ...

    def serve(self, connection: HttpConnection, request: Request) -> None:
        """An allowed request is complete: answer it now or later, by the methods of its connection."""
        ...

    def refused(self, status: int) -> None:
        """A request was answered with an error status and never served."""
        ...

    def closed(self, connection: HttpConnection) -> None:
        """The connection is gone."""
        ...


class HttpConnection(asyncio.Protocol):
    """A client's connection. The service answers its `request` by `answer`, or by `open`, `write` and `end`."""

    def __init__(self, service: Service) -> None:
        self.address = ""
        """The client's address."""
        self.peer = ""
        """The same with the port."""
        self.request: Request | None = None
        """The request that is being answered."""
        self.active: ActiveRequest | None = None
        """Notified when the client disconnects before its answer is complete."""
        self.streaming = False
        """Whether the answer is a stream that is open."""
        self.stalled = False
        """Whether the client was disconnected because it read nothing."""
        self.deadline = service.now + service.limits.idle_timeout
        """When `expire` is due, by the service's clock."""
        self._service = service
        self._reader = RequestReader()
        self._busy = False  # a request is being answered, or the next one waits for its turn
        self._ahead = bytearray()
        self._pending: list[bytes] = []
        self._paused = False  # more than MAX_AHEAD_BYTES wait behind the request
        self._last = False  # close after this answer
        self._over = False  # nothing is read any more
        self._awaiting_head = False
        self._writable: asyncio.Future[None] | None = None  # set while the client reads too slowly
        self._written = 0
        self._taken = 0  # how many of those bytes the client had read when it was last seen to read,
        self._taken_at: float | None = None  # and when that was; None while no bytes wait

    # ------------------------------------------------------------ called by asyncio
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is none of asyncio's
        host, port, *_ = transport.get_extra_info("peername") or ("", 0)
        self.address, self.peer = host, f"{host}:{port}" if host else ""
        self._service.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self._over:
            return
        if self._busy:
            self._ahead += data
            if len(self._ahead) > MAX_AHEAD_BYTES and not self._paused and not self._transport.is_closing():
                self._paused = True
                self._transport.pause_reading()
            return
        reader = self._reader
        self._ahead += reader.feed(data)
        if reader.requests or reader.fault:
            self._advance()
        if not self._busy and not self._over:
            self._watch()

    def eof_received(self) -> None:
        """The client has ended its side; the transport closes itself once all bytes written have left."""
        self._disconnected()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        """The connection is gone, whichever side ended it."""
        self._disconnected()
        self._service.closed(self)

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self._writable = asyncio.get_running_loop().create_future()
        self.deadline = min(self.deadline, self._service.now + self._look_after)

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._writable is not None and not self._writable.done():  # it is done when the client has disconnected
            self._writable.set_result(None)
        self._writable = None
        if self._busy and self.request is None:
            self.deadline = self._service.now + self._service.limits.idle_timeout
            self._resume()

    # ------------------------------------------------------------ called by the service
    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        """Send a whole answer."""
        request = self.request
        assert request is not None  # noqa: S101 (a request is answered once)
        begin = head(status, lines)
        if request.lines:
            begin += request.lines
        if self._last or not request.head.persistent:
            begin += CLOSE
        sent = body if request.head.method != "HEAD" else b""
        data = b"%bcontent-length: %d\r\n\r\n%b" % (begin, len(body), sent)
        self._written += len(data)
        self._transport.write(data)
        self._done(request)

    def refuse(self, answer: Response) -> None:
        """Send an answer that the listener itself gives."""
        if answer.status >= 400:
            self._service.refused(answer.status)
        self.answer(answer.status, SECURE + answer.lines, answer.body)

    def open(self, lines: bytes) -> None:
        """Begin a stream: status 200 and the headers; `write` and `end` follow."""
        request = self.request
        assert request is not None  # noqa: S101 (a request is answered once)
        self.streaming = True
        self.deadline = self._service.now + self._service.limits.keep_alive_timeout
        if request.head.chunked:
            lines += CHUNKED
        close = CLOSE if self._last or not request.head.persistent else b""
        self._queue(b"%b%b%b\r\n" % (head(200, lines), request.lines, close))

    def write(self, data: bytes) -> None:
        """Send a piece of the stream. The pieces of one turn of the loop leave in one write."""
        assert self.request is not None  # noqa: S101 (as above)
        self._queue(chunk(data) if self.request.head.chunked else data)

    def end(self) -> None:
        """End the stream."""
        request = self.request
        assert request is not None  # noqa: S101 (a request is answered once)
        if request.head.chunked:
            self._pending.append(LAST_CHUNK)
        self._flush()
        self._done(request)

    def switch(self, lines: bytes, protocol: asyncio.Protocol) -> None:
        """Answer 101 and hand the connection to another protocol, with the bytes that followed the request."""
        rest = bytes(self._ahead)
        self._transport.write(b"%b\r\n" % (head(101, b"") + lines))
        self._stop()
        self._service.closed(self)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if self._paused:
            self._transport.resume_reading()
        if rest:
            protocol.data_received(rest)

    @property
    def unsent_bytes(self) -> int:
        """How many bytes of earlier turns have not left."""
        return self._transport.get_write_buffer_size()

    @property
    def _look_after(self) -> float:
        return self._service.limits.stall_timeout / 4

    async def drain(self) -> None:
        """Wait until few bytes are unsent, or the connection is gone."""
        while self._writable is not None and not self._over:
            await asyncio.shield(self._writable)

    def abort(self) -> None:
        """Drop the connection and all unsent bytes."""
        self._transport.abort()

    # ------------------------------------------------------------ called by the listener, through the service
    def close_when_done(self) -> None:
        """Serve the request that is under way, then close."""
        self._last = True
        if not self._busy and not self._reader.begun:
            self._close()

    def expire(self) -> None:
        """Act on `deadline`, which has passed."""
        if unsent := self.unsent_bytes:
            self._wait(self._written - unsent)
            return
        self._taken_at = None
        if self._over:
            self._transport.abort()
        elif self.active is not None:
            self.deadline = self._service.now + self._service.limits.keep_alive_timeout
            self.active.keep_alive()
        elif self._reader.begun and not self._busy:
            self._fail(408)
        else:
            self._close()

    def _wait(self, taken: int) -> None:
        """Abort a client that reads nothing of the bytes that wait for it. taken: how many it has read so far."""
        limits, now = self._service.limits, self._service.now
        if taken > self._taken or self._taken_at is None:
            self._taken, self._taken_at = taken, now
        if now - self._taken_at < limits.stall_timeout:
            self.deadline = now + self._look_after
        else:
            self.stalled = True
            self._transport.abort()

    # ------------------------------------------------------------ one request after the other
    def _watch(self) -> None:
        """Set the deadline of a connection that waits for its client."""
        waiting, self._awaiting_head = self._awaiting_head, self._reader.awaiting_head
        if not (waiting and self._awaiting_head):  # a head has one deadline however slowly it trickles in
            limits = self._service.limits
            self.deadline = self._service.now + (limits.request_timeout if self._reader.begun else limits.idle_timeout)

    def _advance(self) -> None:
        """Take up the next request, unless one is being answered."""
        reader, service = self._reader, self._service
        while reader.requests and not self._busy:
            request = reader.requests[0]
            if reader.fault and not request.whole:
                break
            answer = None
            if not request.judged:
                request.judged = True
                answer = service.judge(self, request)
                if not request.whole and _expects_continue(request):
                    if answer is None:
                        self._transport.write(CONTINUE)
                    else:
                        self._last = True  # the client may or may not still send the body that it announced
            if answer is None and request.size > service.limits.max_body_bytes:
                answer = too_large(service.limits.max_body_bytes)
            if answer is None and not request.whole:
                break
            reader.drop()
            self.request, self._busy = request, True
            self.deadline = service.now + service.limits.keep_alive_timeout
            if answer is not None:
                self.refuse(answer)
            else:
                service.serve(self, request)
        if reader.fault and not self._busy and not self._over:
            self._fail(reader.fault)

    def _done(self, request: Request) -> None:
        self.request = self.active = None
        self.streaming = self._awaiting_head = False
        self.deadline = self._service.now + (self._service.limits.idle_timeout if self._writable is None else self._look_after)
        if self._last or not request.head.persistent:
            self._close(linger=not request.whole)
        elif self._ahead or self._reader.requests or self._reader.fault or self._writable is not None:
            asyncio.get_running_loop().call_soon(self._resume)
        else:
            self._busy = False

    def _resume(self) -> None:
        """Read on, once the client has read the answer to the previous request."""
        if self._over or self.request is not None or self._writable is not None:
            return
        self._busy = False
        self._advance()
        if not self._busy and not self._over:
            ahead = bytes(self._ahead)
            self._ahead.clear()
            if self._paused and not self._transport.is_closing():  # a failed write closes it
                self._paused = False
                self._transport.resume_reading()
            self.data_received(ahead)

    def _fail(self, status: int) -> None:
        """Refuse bytes that are not a request, and close."""
        self._reader.requests.clear()
        self._service.refused(status)
        answer = _FAULTS[status]
        begin = head(status, SECURE + answer.lines + CLOSE)
        self._transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (begin, len(answer.body), answer.body))
        self._close(linger=True)

    def _close(self, *, linger: bool = False) -> None:
        """Close once all bytes written have left. linger: let a client that may still be sending read them (RFC 9112 9.6)."""
        self._stop()
        if linger and self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _disconnected(self) -> None:
        """The client has disconnected."""
        self._stop()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        active, self.active = self.active, None
        if active is not None:
            active.disconnected()

    def _stop(self) -> None:
        """Stop reading."""
        self._over = True
        self._reader.close()
        self._pending.clear()
        self._ahead.clear()
        self.deadline = self._service.now + self._service.limits.request_timeout

    def _queue(self, data: bytes) -> None:
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._flush)
        self._pending.append(data)

    def _flush(self) -> None:
        if self._pending and not self._transport.is_closing():
            data = b"".join(self._pending)
            self._written += len(data)
            self._transport.write(data)
        self._pending.clear()


def _expects_continue(request: Request) -> bool:
    """Whether the client waits for a 100 Continue before it sends its body (RFC 9110 10.1.1)."""
    head = request.head
    return not request.size and head.chunked and head.headers.get(b"expect", b"").lower() == b"100-continue"

"""The link of one Streamable HTTP request: its answer leaves as JSON or as an event stream. Above it: service.py."""

from __future__ import annotations

from fabric.errors import LinkBroken, LinkClosed, LinkError
from fabric.links.base import LinkInfo, Purpose, RequestHandler
from fabric.links.event_stream import COMMENT, encode_event
from fabric.links.http.connection import HttpConnection
from fabric.links.http.response import JSON, SECURE, Response
from fabric.links.http.response_status import answer_status
from fabric.mcp.batches import asks, split
from fabric.mcp.jsonrpc import Message, MessageKind

_JSON = JSON + SECURE
_EVENTS = (
    b"content-type: text/event-stream\r\nx-content-type-options: nosniff\r\n"
    b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
)
_End = tuple[type[LinkError], str]
"""The error to raise after the end, made anew each time: a stored exception would keep its stack frames, and so the link."""
_ANSWERED: _End = (LinkClosed, "the request is answered")
_DISCONNECTED: _End = (LinkBroken, "the client disconnected")
_STALLED: _End = (LinkBroken, "the client read nothing of its answer for too long")
_SHUT: _End = (LinkClosed, "the listener closed")


class HttpRequestLink:
    """A RequestLink (links/base.py). Its answer is JSON if the first frame sent is final, else an event stream.

    `send(b"")` opens the stream with a comment, or with `event` primes the client to reconnect. `keep_alive` opens the stream
    of a request that takes long. For a client that accepts no JSON, a result is a stream of one event, and only an error with
    an HTTP status of its own is JSON. HTTP does not show whether a client that disconnects has failed.
    """

    __slots__ = ("_connection", "_end", "_handler", "_json", "_message", "_modern", "info")

    def __init__(
        self,
        info: LinkInfo,
        message: Message | None,
        connection: HttpConnection,
        handler: RequestHandler,
        *,
        modern: bool,
        json: bool,
    ) -> None:
        """message: None for a GET or DELETE. modern: the request is of the modern era. json: the client accepts JSON."""
        self.info = info
        self._json = json
        self._message = message
        self._connection = connection
        self._modern = modern
        self._handler = handler
        self._end: _End | None = None

    def send(self, frame: bytes, *, event: str = "", final: bool = False) -> None:
        """See Link.send."""
        if self._end is not None:
            raise self._end[0](self._end[1])
        connection = self._connection
        if not connection.streaming:
            if final:
                message = self._message
                expected = (message is not None and message.kind is MessageKind.REQUEST) or frame[:1] == b"["
                # A frame for a message that has no answer means that the HTTP request failed, whatever the era.
                status, lines = answer_status(frame, modern=self._modern or not expected, otherwise=200 if expected else 503)
                if self._json or status != 200:
                    self._end = _ANSWERED
                    connection.answer(status, _JSON + lines if lines else _JSON, frame)
                    return
            connection.open(_EVENTS)
        connection.write(encode_event(frame, event))
        if final:
            self._end = _ANSWERED
            connection.end()

    @property
    def unsent_bytes(self) -> int:
        """See Link.unsent_bytes."""
        return self._connection.unsent_bytes

    def accept(self) -> None:
        """See RequestLink.accept."""
        self._close(_ANSWERED)
        self._connection.answer(200 if self.info.purpose is Purpose.DELETE_SESSION else 202, SECURE, b"")

    def establish(self, token: str) -> None:
        """See RequestLink.establish. Raises ValueError for a token that no header may hold."""
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise ValueError("a session token is visible ASCII")
        request = self._connection.request
        if self._end is None and request is not None:
            request.lines += b"mcp-session-id: %b\r\n" % token.encode()

    def finish(self) -> None:
        """See RequestLink.finish. A stream that is not open yet is opened and ended, if the client accepts streams."""
        self._close(_ANSWERED)
        if self.info.answer_only:
            self._connection.answer(202, SECURE, b"")
            return
        if not self._connection.streaming:
            self._connection.open(_EVENTS)
        self._connection.end()

    async def drain(self) -> None:
        """See Link.drain."""
        if self._end is None:
            await self._connection.drain()
        if self._end is not None and self._end[0] is LinkBroken:
            raise LinkBroken(self._end[1])

    # ------------------------------------------------------------ called by the connection and the listener
    def disconnected(self) -> None:
        """See ActiveRequest.disconnected."""
        if self._end is None:
            self._end = _STALLED if self._connection.stalled else _DISCONNECTED
        self._handler.on_disconnect(self)

    def keep_alive(self) -> None:
        """See ActiveRequest.keep_alive. Sends a comment, which opens the stream if it is not open yet."""
        connection = self._connection
        if self._end is not None or connection.unsent_bytes:
            return
        if not connection.streaming:
            if not self._may_stream():
                return
            if self._begins_session:
                self._handler.on_waiting(self)
                return
            connection.open(_EVENTS)
        connection.write(COMMENT)

    def end_stream(self) -> None:
        """End a session's stream in good order, because the listener closes."""
        if self._end is None:
            self.finish()
            self._handler.on_disconnect(self)

    def abort(self) -> None:
        """Drop the connection, because the listener closes and waits no longer."""
        if self._end is None:
            self._end = _SHUT
        self._connection.abort()

    def fail(self, answer: Response) -> None:
        """Answer with `answer`, if no answer has begun, because the handler has failed."""
        if self._end is not None:
            return
        self._end = _SHUT
        if self._connection.streaming:
            self._connection.abort()
        else:
            self._connection.refuse(answer)

    def _may_stream(self) -> bool:
        """Whether the answer can still become a stream: the message has an answer, and the client accepts streams."""
        message = self._message
        if message is None or self.info.answer_only:
            return False
        if message.kind is MessageKind.BATCH:
            return asks(split(message))
        return message.kind is MessageKind.REQUEST

    @property
    def _begins_session(self) -> bool:
        """Whether the request begins a session, whose id has to be in the stream's headers."""
        return self._message is not None and self._message.method == "initialize" and not self._modern

    def _close(self, end: _End) -> None:
        if self._end is not None:
            raise self._end[0](self._end[1])
        self._end = end

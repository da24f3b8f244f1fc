"""One Streamable HTTP request as a link: the message in, an answer out as JSON or as an event stream."""

from __future__ import annotations

import asyncio

from fabric.core.faults import Fault, Reason, fault_frame
from fabric.errors import EndOfLink, LinkBroken, LinkClosed, LinkError, LinkOverflow
from fabric.jsonrpc import Message, MessageKind
from fabric.links.base import LinkInfo, Purpose
from fabric.links.event_stream import COMMENT, encode_event
from fabric.links.http_rules import JSON, Admission
from fabric.links.http_status import answer_status
from fabric.links.http_wire import Response

SECURE = b"x-content-type-options: nosniff\r\ncache-control: no-store\r\n"
"""Header lines of every answer but an event stream's."""

_JSON = JSON + SECURE
_EVENTS = (
    b"content-type: text/event-stream\r\nx-content-type-options: nosniff\r\n"
    b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
)


class HttpLink:
    """A RequestLink (links/base.py). Its answer is JSON when the first frame sent is final, else an event stream.

    `send(b"")` opens the stream with a comment, or with `event` primes the client to reconnect. The client's leaving, orderly
    or not, is EndOfLink: HTTP does not tell them apart. max_unsent_bytes bounds what a slow client may leave unread.
    """

    def __init__(
        self, info: LinkInfo, admission: Admission, response: Response, streams: set[HttpLink], max_unsent_bytes: int
    ) -> None:
        self._info = info
        self._message = message = admission.message
        self._modern = admission.modern
        self._response = response
        self._streams = streams
        self._max_unsent_bytes = max_unsent_bytes
        self._id = message.id if message is not None else b""
        # An error answers a request; where nothing was asked, it is the HTTP request that failed.
        self._otherwise = 200 if message is not None and message.kind is MessageKind.REQUEST else 503
        self._waiter: asyncio.Future[None] | None = None
        # Kept apart and raised anew: an exception that is kept holds its frames, and they the link, until the collector comes.
        self._end: type[LinkError] | None = None
        self._end_reason = ""

    @property
    def info(self) -> LinkInfo:
        """See Link.info."""
        return self._info

    async def receive(self) -> Message:
        """The POST's message, then (or first, where there is none) the wait for the end. See Link.receive."""
        message = self._message
        if message is not None:
            self._message = None
            return message
        if self._end is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        assert self._end is not None  # noqa: S101 (whoever wakes the waiter has set it)
        raise self._end(self._end_reason)

    def send(self, frame: bytes, *, event: str = "", final: bool = False) -> None:
        """See Link.send."""
        self._check_open()
        response = self._response
        if response.streaming:
            if response.unsent_bytes > self._max_unsent_bytes:
                self._over(LinkBroken, "the client was too slow and was cut off")
                response.abort()
                raise LinkOverflow(f"a client left more than {self._max_unsent_bytes} bytes unread")
            response.write(encode_event(frame, event))
        elif final:
            status, lines = answer_status(frame, modern=self._modern, otherwise=self._otherwise)
            response.whole(status, _JSON + lines if lines else _JSON, frame)
            self._over(LinkClosed, "answered")
            return
        else:
            response.open(_EVENTS)
            self._streams.add(self)
            response.write(encode_event(frame, event))
        if final:
            response.end()
            self._over(LinkClosed, "answered")

    def accept(self) -> None:
        """See RequestLink.accept."""
        self._check_open()
        self._response.whole(200 if self._info.purpose is Purpose.FAREWELL else 202, SECURE, b"")
        self._over(LinkClosed, "accepted")

    def establish(self, token: str) -> None:
        """See RequestLink.establish. Raises ValueError for a token that no header may hold."""
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise ValueError("a session token is visible ASCII")
        self._response.lines += b"mcp-session-id: " + token.encode() + b"\r\n"

    def finish(self) -> None:
        """See RequestLink.finish. A stream that carried nothing is opened and ended."""
        self._check_open()
        if not self._response.streaming:
            self._response.open(_EVENTS)
        self._response.end()
        self._over(LinkClosed, "finished")

    async def drain(self) -> None:
        """See Link.drain."""
        await self._response.drain()
        if self._end is EndOfLink or self._end is LinkBroken:
            raise LinkBroken(self._end_reason)

    async def aclose(self) -> None:
        """See Link.aclose. An unanswered request gets an error, an open stream ends."""
        if self._end is not None:
            return
        if self._response.streaming:
            self.finish()
        else:
            self.send(fault_frame(self._id, Fault(Reason.UNAVAILABLE, "the door closed before an answer came")), final=True)

    def keep_alive(self) -> None:
        """Write a comment to an open stream, unless it has something unsent anyway."""
        if not self._response.unsent_bytes:
            self._response.write(COMMENT)

    def lost(self) -> None:
        """The connection is gone."""
        if self._end is None:
            self._over(EndOfLink, "the client left")

    def cut(self) -> None:
        """Drop the connection: the door closes and waits no longer."""
        if self._end is None:
            self._over(LinkClosed, "the door closed")
            self._response.abort()

    def _check_open(self) -> None:
        if self._end is not None:
            raise (LinkClosed if self._end is LinkClosed else LinkBroken)(self._end_reason)

    def _over(self, end: type[LinkError], reason: str) -> None:
        self._end, self._end_reason = end, reason
        self._streams.discard(self)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

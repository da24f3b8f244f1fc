"""The client of the HTTP+SSE transport (2024-11-05): one stream brings every message and names the URL to POST to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from yarl import URL

from fabric.errors import EndOfLink, InvalidFrame, LinkError, LinkHandshakeError, LinkOverflow, LinkRefused, LinkTimeout
from fabric.links.event_stream import EventDecoder, ServerEvent
from fabric.links.http_client import rules
from fabric.links.http_client.connection_pool import ConnectionPool, ServerResponse
from fabric.links.http_client.receive_queue import ReceiveQueue
from fabric.links.mending import mended
from fabric.mcp import batches
from fabric.mcp.jsonrpc import Message, MessageKind

_ENDPOINT_BYTES = 8192


class SseStream:
    """One session with a server of HTTP+SSE."""

    def __init__(
        self, pool: ConnectionPool, url: URL, max_bytes: int, receive_queue: ReceiveQueue, ended: Callable[[LinkError], None]
    ) -> None:
        """max_bytes: of an event, and of a POST's answer. ended: called with the reason when the open stream ends."""
        self._pool = pool
        self._url = url
        self._max_bytes = max_bytes
        self._receive_queue = receive_queue
        self._ended = ended
        self._endpoint: asyncio.Future[URL] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None] | None = None

    async def open(self, timeout: float) -> None:
        """Open the stream, and wait until it names the URL to POST to, within `timeout` seconds.

        Raises LinkRefused, its kinds, LinkTimeout, LinkBroken.
        """
        self._reading = asyncio.create_task(self._read())
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._endpoint)
        except TimeoutError:
            await self.aclose()
            raise LinkTimeout(f"{self._pool.where} opened no event stream within {timeout:g} s") from None
        except asyncio.CancelledError:
            await self.aclose()
            raise

    async def _read(self) -> None:
        """Open the stream and read it to its end."""
        try:
            async with (
                self._pool.stream_room,
                self._pool.room,
                await self._pool.request("GET", self._url, rules.GET) as answer,
            ):
                await self._events(answer)
        except LinkError as error:
            if self._endpoint.done():
                self._ended(error)
            else:
                self._endpoint.set_exception(error)

    async def _events(self, answer: ServerResponse) -> None:
        where = self._pool.where
        if answer.status != 200 or answer.kind != "text/event-stream":
            status_text = f"{where} answers {answer.status_text}" + f" with {answer.kind}" * bool(answer.kind)
            advice = rules.advice(answer.status) or f", which is no event stream; {rules.OTHER}"
            raise LinkHandshakeError(status_text + advice)
        events = EventDecoder(self._max_bytes)
        while chunk := await answer.chunk():
            for event in events.feed(chunk):
                if isinstance(event, LinkOverflow):
                    self._receive_queue.put(event)
                elif event.kind == "message":
                    self._take(event)
                elif event.kind == "endpoint" and not self._endpoint.done():
                    self._endpoint.set_result(self._checked(event.data))
            await self._receive_queue.room()
        raise EndOfLink(f"{where} ended its event stream")

    def _take(self, event: ServerEvent) -> None:
        try:
            for message in batches.read(event.data):
                self._receive_queue.put(message)
        except InvalidFrame as error:
            messages: list[Message | InvalidFrame] = [*mended(event.data, self._pool.where)]
            for each in messages or [error]:
                self._receive_queue.put(each)

    def _checked(self, data: bytes) -> URL:
        with suppress(ValueError):
            endpoint = self._url.join(URL(data[:_ENDPOINT_BYTES].decode(errors="replace")))
            if endpoint.origin() == self._url.origin():  # our headers may hold secrets that no other server may see
                return endpoint
        raise LinkHandshakeError(f"{self._pool.where} wants its messages POSTed to another server")

    async def post(self, message: Message, timeout: float) -> None:
        """POST a message. Raises LinkTimeout if the server does not accept it within `timeout` seconds.

        Any other failure of a request queues the LostAnswer in place of its answer; of another message it raises LinkError.
        """
        is_request = message.kind is MessageKind.REQUEST
        try:
            async with asyncio.timeout(timeout):
                async with await self._pool.request("POST", self._endpoint.result(), rules.POST, message.frame) as answer:
                    body = await answer.body(self._max_bytes)
        except TimeoutError:
            raise LinkTimeout(f"{self._pool.where} did not accept a message within {timeout:g} s") from None
        except LinkError as error:
            if not is_request:
                raise
            unsent = isinstance(error, LinkRefused | LinkTimeout)
            self._receive_queue.put(rules.unsent(message, str(error)) if unsent else rules.unknown(message, str(error)))
            return
        if 200 <= answer.status < 300:
            if body and answer.kind == "application/json":  # some servers answer in the POST's response
                with suppress(InvalidFrame):
                    for reply in batches.read(body):
                        self._receive_queue.put(reply)
        elif is_request or answer.status in (400, 404):
            advice = answer.headers.get("Retry-After", "")
            where, status_text = self._pool.where, answer.status_text
            replies, refusal = rules.judged(message, answer.status, where, status_text, body, advice, in_session=True)
            for reply in replies if is_request else ():
                self._receive_queue.put(reply)
            if isinstance(refusal, EndOfLink):
                raise refusal

    async def aclose(self) -> None:
        """Close the stream, which ends the session."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._endpoint.done() and not self._endpoint.cancelled():
            self._endpoint.exception()  # mark it as seen: `open` has raised it, or no longer waits

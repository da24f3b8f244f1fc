"""Reads an event stream of a remote server and resumes it when it breaks: the answer to a POST, or a session's own stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fabric.errors import EndOfLink, InvalidFrame, LinkError, LinkOverflow
from fabric.links.event_stream import EventDecoder, ServerEvent
from fabric.links.http_client import rules
from fabric.links.http_client.connection_pool import ServerResponse
from fabric.links.http_client.receive_queue import ReceiveQueue
from fabric.links.mending import mended
from fabric.mcp import batches
from fabric.mcp.jsonrpc import Message

RETRY_FIRST, RETRY_MOST = 1.0, 30.0
"""Seconds before a stream is opened again, unless the server names a time: doubled from the first to the most."""
RETRY_LEAST = 0.1
"""The fewest seconds before a stream is opened again, whatever time the server names."""
RESUMED_MOST = 5
"""How many attempts in a row to resume the stream of a request may fail."""

Get = Callable[[str], Awaitable[ServerResponse]]
"""Opens the stream again after the event of this id; with an empty id, a new stream."""


class EventStreamReader:
    """Reads the event streams of one link."""

    def __init__(self, receive_queue: ReceiveQueue, max_bytes: int, where: str) -> None:
        """receive_queue: gets the messages of a session's own stream. max_bytes: of an event. where: the server, for people."""
        self._receive_queue = receive_queue
        self._max_bytes = max_bytes
        self._where = where

    async def answer(
        self, request: Message, answer: ServerResponse, put: Callable[[Message], None], get: Get, *, resumable: bool
    ) -> None:
        """`put` the messages that answer a request, its response last, or the LostAnswer in its place.

        answer: the POST's, an event stream. get: resumes it. Raises EndOfLink if the server no longer knows the session.
        """
        overflows: list[LinkOverflow] = []

        def take(event: ServerEvent | LinkOverflow) -> bool:
            if isinstance(event, LinkOverflow):
                overflows.append(event)
                return False
            for message in self.messages(event):
                reply = rules.own(message, request, self._where)
                put(reply)
                if rules.answers(reply, request):
                    return True
            return False

        failure = await self._follow(answer, take, get, most=RESUMED_MOST if resumable else 0)
        if failure:
            put(rules.too_long(request, str(overflows[0])) if overflows else rules.unknown(request, failure))

    async def listen(self, get: Get) -> None:
        """Queue the messages of a session's own stream. Returns only if the server has none; raises EndOfLink as `answer`."""

        def take(event: ServerEvent | LinkOverflow) -> bool:
            if isinstance(event, LinkOverflow):
                self._receive_queue.put(event)
            else:
                for message in self.messages(event):
                    self._receive_queue.put(message)
            return False

        await self._follow(None, take, get, most=None)

    def messages(self, event: ServerEvent) -> list[Message]:
        """The messages that an event carries; an event that carries none is queued as an InvalidFrame."""
        if event.kind == "message":
            try:
                return batches.read(event.data)
            except InvalidFrame as error:
                if messages := mended(event.data, self._where):
                    return messages
                self._receive_queue.put(error)
        return []

    async def _follow(
        self, answer: ServerResponse | None, take: Callable[[ServerEvent | LinkOverflow], bool], get: Get, *, most: int | None
    ) -> str:
        """Read a stream until `take` returns true, and open it again when it breaks. Returns the failure's reason, or "".

        answer: the stream that is open, if one is. most: how many attempts in a row may fail, and only a stream whose events
        have ids is resumed; None: any number, also without an id.
        """
        events = EventDecoder(self._max_bytes)
        failed, pause, opened = 0, RETRY_FIRST, answer is not None
        while True:
            reason = f"{self._where} ended the stream of an answer before its end"
            try:
                answer = answer or await get(events.last_id)
                async with answer:
                    streams = answer.kind == "text/event-stream"
                    if answer.status == 404 and opened:
                        raise EndOfLink(f"{self._where} no longer knows the session")
                    if answer.status < 500 and answer.status != 429 and not streams:
                        return f"{self._where} does not resume the stream of an answer ({answer.status_text})"
                    opened = opened or streams
                    while streams and (chunk := await answer.chunk()):
                        failed = 0
                        for event in events.feed(chunk):
                            pause = RETRY_FIRST
                            if take(event):
                                await answer.finish()
                                return ""
                        await self._receive_queue.room()
            except EndOfLink:
                raise
            except LinkError as error:
                reason = str(error)
            answer = None
            failed += 1
            if most is not None and (not events.last_id or failed > most):
                return reason
            await asyncio.sleep(pause if events.retry is None else max(events.retry, RETRY_LEAST))
            pause = min(2 * pause, RETRY_MOST)
            events.reopen()

"""Reading an event stream of a remote server across breaks: the answer to a POST, or a session's own stream."""

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
"""Seconds before a stream is opened again, unless the server says how many: doubling from the first to the most."""
RETRY_LEAST = 0.1
"""Seconds it is not opened again sooner than, whatever the server says."""
RESUMED_MOST = 5
"""How often in a row the broken stream of a request is asked for in vain."""

Get = Callable[[str], Awaitable[ServerResponse]]
"""Asks for the stream again, after the event of this id; empty for a new one."""


class EventStreamReader:
    """What all streams of one link have in common. where: the server, for people."""

    def __init__(self, receive_queue: ReceiveQueue, max_bytes: int, where: str) -> None:
        self._receive_queue = receive_queue
        self._max_bytes = max_bytes
        self._where = where

    async def answer(
        self, request: Message, answer: ServerResponse, put: Callable[[Message], None], get: Get, *, resumable: bool
    ) -> None:
        """Put what answers a request, its response last, or what it gets instead.

        Raises EndOfLink when the server has forgotten the session.
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

        why = await self._follow(answer, take, get, most=RESUMED_MOST if resumable else 0)
        if why:
            put(rules.too_long(request, str(overflows[0])) if overflows else rules.unknown(request, why))

    async def listen(self, get: Get) -> None:
        """Put what a session's own stream brings, for ever. Ends where the server has none; raises EndOfLink as `answer`."""

        def take(event: ServerEvent | LinkOverflow) -> bool:
            if isinstance(event, LinkOverflow):
                self._receive_queue.put(event)
            else:
                for message in self.messages(event):
                    self._receive_queue.put(message)
            return False

        await self._follow(None, take, get, most=None)

    def messages(self, event: ServerEvent) -> list[Message]:
        """What an event carries."""
        if event.kind == "message":
            try:
                return batches.read(event.data)
            except InvalidFrame as error:
                if found := mended(event.data, self._where):
                    return found
                self._receive_queue.put(error)
        return []

    async def _follow(
        self, answer: ServerResponse | None, take: Callable[[ServerEvent | LinkOverflow], bool], get: Get, *, most: int | None
    ) -> str:
        """Read a stream until `take` has enough, opening it again when it breaks; if that cannot be done, returns why.

        most: how often in a row this is tried in vain, None for ever; a new stream of its own needs no event to resume after.
        """
        events = EventDecoder(self._max_bytes)
        vain, pause, opened = 0, RETRY_FIRST, answer is not None
        while True:
            why = f"{self._where} ended the stream of an answer before its end"
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
                        vain = 0
                        for event in events.feed(chunk):
                            pause = RETRY_FIRST
                            if take(event):
                                await answer.finish()
                                return ""
                        await self._receive_queue.room()
            except EndOfLink:
                raise
            except LinkError as error:
                why = str(error)
            answer = None
            vain += 1
            if most is not None and (not events.last_id or vain > most):
                return why
            await asyncio.sleep(pause if events.retry is None else max(events.retry, RETRY_LEAST))
            pause = min(2 * pause, RETRY_MOST)
            events.reopen()

"""The reads of one Redis stream, an inbox or work: blocking, on a connection of their own, none lost with who waits for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from redis.exceptions import ResponseError

from fabric.brokers.base import Delivery
from fabric.brokers.redis.connection import Command, RedisConnection, Replies, Reply
from fabric.errors import BrokerError, BrokerReset

BLOCK = 2.0
"""Seconds a read waits in the broker before it is asked again."""


class Lose(Protocol):
    """The connection is of no more use. `reply`: what Redis refused, if it did."""

    def __call__(self, reason: str, reply: Reply = None) -> None:  # noqa: D102 - the class says it
        ...


Accept = Callable[[Any], None]  # takes a reply whose shape the command fixes


class BlockingReader:
    """The reads of one stream, on a connection of their own since a blocking read holds up all behind it.

    ready: what came and nobody has asked for yet. end: what reading raises from now on. under_way: a read, and what takes its
    reply.
    """

    def __init__(self, pipe: RedisConnection, key: str, lose: Lose) -> None:
        self.pipe = pipe
        self._key = key
        self.ready: deque[Delivery] = deque()
        self.end: BrokerError | None = None
        self.under_way: tuple[asyncio.Future[Replies], Accept] | None = None
        self._lose = lose

    async def receive(self, limit: int, ask: Callable[[int], tuple[list[Command], Accept]]) -> Sequence[Delivery]:
        """What is ready, or else what the commands of `ask` bring; it says too what takes the reply to the last of them.

        A read outlives the cancellation of whoever waits for it, and the next call gets what it brings.
        """
        while True:
            if self.end is not None:
                raise self.end.anew()
            if self.ready:
                return [self.ready.popleft() for _ in range(min(limit, len(self.ready)))]
            if self.under_way is None:
                commands, accept = ask(limit)
                self.under_way = self.pipe.send(commands), accept
            asked, accept = self.under_way
            replies = await asyncio.shield(asked)
            self.under_way = None
            if not replies:
                self.end = self.end or BrokerReset("the connection to the broker was lost")
            elif refused := [reply for reply in replies if isinstance(reply, ResponseError)]:
                self._lose(f"reading {self._key}", refused[0])
            else:
                try:
                    accept(replies[-1])
                except (TypeError, ValueError, LookupError):
                    self._lose(f"reading {self._key}: a reply of another shape")

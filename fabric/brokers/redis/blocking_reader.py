"""Blocking reads of one Redis stream, on a connection of their own; a cancelled receive() loses nothing."""

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
"""Seconds that a blocking read waits in the broker; then it is sent again."""


class Lose(Protocol):
    """Gives the connection up."""

    def __call__(self, reason: str, reply: Reply = None) -> None:
        """Give the connection up for this reason. reply: Redis' refusal, if that is the reason."""
        ...


Accept = Callable[[Any], None]
"""Takes the reply to a command, which determines its shape."""


class BlockingReader:
    """The reads of one stream."""

    def __init__(self, connection: RedisConnection, key: str, lose: Lose) -> None:
        self.connection = connection
        """A connection for reads alone: a blocking read delays all commands behind it."""
        self._key = key
        self.ready: deque[Delivery] = deque()
        """Deliveries that no receive() has returned yet."""
        self.end: BrokerError | None = None
        """The error that receive() raises from now on; None while the reader is open."""
        self.under_way: tuple[asyncio.Future[Replies], Accept] | None = None
        """The read that Redis has not answered yet, and the function that takes its reply."""
        self._lose = lose

    async def receive(self, limit: int, make_read: Callable[[int], tuple[list[Command], Accept]]) -> Sequence[Delivery]:
        """Return the deliveries that are ready; without any, send the commands of `make_read` and wait for their deliveries.

        `make_read` also returns the function that takes the reply to the last command. A read goes on when receive() is
        cancelled, and the next call gets its deliveries.
        """
        while True:
            if self.end is not None:
                raise self.end.anew()
            if self.ready:
                return [self.ready.popleft() for _ in range(min(limit, len(self.ready)))]
            if self.under_way is None:
                commands, accept = make_read(limit)
                self.under_way = self.connection.send(commands), accept
            read, accept = self.under_way
            replies = await asyncio.shield(read)
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

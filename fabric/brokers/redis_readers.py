"""How an inbox and a topic are read from Redis, and what every reader there has in common; redis_work.py reads work.

redis_streams.py says what the channels are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from redis.exceptions import ResponseError

from fabric.brokers.base import Delivery, Subscription
from fabric.brokers.mailbox import Mailbox
from fabric.brokers.redis_pipe import Command, Pipe, Replies, Reply
from fabric.errors import BrokerClosed, BrokerError, BrokerReset

BLOCK = 2.0
"""Seconds a read waits in the broker before it is asked again."""

MOST_MESSAGES_AT_ONCE = 128
"""Entries one read of an inbox takes."""

INBOX_TTL = 60
"""Seconds an inbox outlives its owner."""


class Lose(Protocol):
    """The connection is of no more use. `reply`: what Redis refused, if it did."""

    def __call__(self, reason: str, reply: Reply = None) -> None:  # noqa: D102 - the class says it
        ...


Accept = Callable[[Any], None]  # takes a reply whose shape the command fixes


class Reader(Subscription, Protocol):
    """A subscription that is kept alive until it has ended, and can be ended from outside."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        ...

    def renewal(self) -> Command:
        """What keeps it alive, to be sent every few seconds."""
        ...

    def renewed(self, reply: Reply) -> None:
        """The reply to that."""
        ...

    def end(self, error: BrokerError) -> None:
        """Reading raises such an error from now on; the first end counts."""
        ...


class Reads:
    """The reads of one stream, on a connection of their own since a blocking read holds up all behind it.

    ready: what came and nobody has asked for yet. end: what reading raises from now on. under_way: a read, and what takes its
    reply.
    """

    def __init__(self, pipe: Pipe, key: str, lose: Lose) -> None:
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
                accept(replies[-1])


class Inbox:
    """The one reader of an inbox. What it has read is deleted with the next read. See Subscription."""

    def __init__(self, key: str, reads: Pipe, commands: Pipe, lose: Lose) -> None:
        self._key = key
        self._reads = Reads(reads, key, lose)
        self._commands = commands
        self._lose = lose
        self._last = b"0-0"
        self._trimmed = b"0-0"

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See Subscription."""
        return await self._reads.receive(limit, self._ask)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """It keeps nothing for us."""

    async def nack(self, deliveries: Sequence[Delivery]) -> None:
        """It keeps nothing for us."""

    async def aclose(self) -> None:
        """See Subscription."""
        if isinstance(self._reads.end, BrokerClosed):
            return
        self._reads.end = BrokerClosed("the subscription is closed")
        await self._reads.pipe.aclose()
        await self._commands.send([("UNLINK", self._key)])

    @property
    def ended(self) -> bool:
        """See Reader."""
        return self._reads.end is not None

    def renewal(self) -> Command:
        """See Reader."""
        return ("EXPIRE", self._key, INBOX_TTL)

    def renewed(self, reply: Reply) -> None:
        """See Reader."""
        if isinstance(reply, ResponseError):
            self._lose(f"renewing {self._key}", reply)
        elif reply != 1 and not self.ended:
            self._lose("our inbox is gone: this process was silent for too long, or somebody deleted it")

    def end(self, error: BrokerError) -> None:
        """See Reader."""
        self._reads.end = self._reads.end or error

    def _ask(self, limit: int) -> tuple[list[Command], Accept]:
        count, block = min(limit, MOST_MESSAGES_AT_ONCE), int(BLOCK * 1000)
        commands: list[Command] = [("XREAD", "COUNT", count, "BLOCK", block, "STREAMS", self._key, self._last)]
        if self._last != self._trimmed:
            milliseconds, _, sequence = self._last.partition(b"-")
            commands.insert(0, ("XTRIM", self._key, "MINID", b"%b-%d" % (milliseconds, int(sequence) + 1)))
            self._trimmed = self._last
        return commands, self._accept

    def _accept(self, reply: Any) -> None:
        for id, fields in reply[0][1] if reply is not None else ():
            self._reads.ready.append(Delivery(fields[1]))
            self._last = id


class Topic:
    """One listener to a topic; `leave` says that it listens no more. See Subscription."""

    def __init__(self, leave: Callable[[Mailbox], None]) -> None:
        self.mailbox = Mailbox()
        self.receive = self.mailbox.receive
        self._leave = leave

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """It keeps nothing."""

    async def nack(self, deliveries: Sequence[Delivery]) -> None:
        """It keeps nothing."""

    async def aclose(self) -> None:
        """See Subscription."""
        self.mailbox.clear()
        self.mailbox.end(BrokerClosed("the subscription is closed"))
        self._leave(self.mailbox)

    @property
    def ended(self) -> bool:
        """See Reader."""
        return self.mailbox.ended

    def renewal(self) -> Command:
        """See Reader."""
        return ("PING",)

    def renewed(self, reply: Reply) -> None:
        """Nothing to see."""

    def end(self, error: BrokerError) -> None:
        """See Reader."""
        self.mailbox.end(error)

"""Reads an inbox from Redis, and deletes the entries that it has read. adapter.py describes the stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from fabric.brokers.base import Delivery
from fabric.brokers.redis.blocking_reader import BLOCK, Accept, BlockingReader, Lose
from fabric.brokers.redis.connection import Command, RedisConnection, Reply
from fabric.errors import BrokerClosed, BrokerError

MOST_MESSAGES_AT_ONCE = 128
"""The most entries of one read."""

INBOX_TTL = 60
"""Seconds that an inbox outlives its owner."""


class InboxReader:
    """The one reader of an inbox. Each read deletes the entries of the one before. See Subscription."""

    def __init__(self, key: str, reads: RedisConnection, commands: RedisConnection, lose: Lose) -> None:
        self._key = key
        self._reads = BlockingReader(reads, key, lose)
        self._commands = commands
        self._lose = lose
        self._last = b"0-0"
        self._trimmed = b"0-0"

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See Subscription."""
        return await self._reads.receive(limit, self._make_read)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Do nothing: the next read deletes the entries that were received."""

    async def nack(self, deliveries: Sequence[Delivery]) -> None:
        """Do nothing: an inbox has no other reader."""

    async def aclose(self) -> None:
        """See Subscription."""
        if isinstance(self._reads.end, BrokerClosed):
            return
        self._reads.end = BrokerClosed("the subscription is closed")
        await self._reads.connection.aclose()
        await self._commands.send([("UNLINK", self._key)])

    @property
    def ended(self) -> bool:
        """Whether the subscription has ended."""
        return self._reads.end is not None

    def renewal(self) -> Command:
        """The command that keeps the inbox from expiring, to be sent each PULSE (adapter.py)."""
        return ("EXPIRE", self._key, INBOX_TTL)

    def renewed(self, reply: Reply) -> None:
        """Take the reply to `renewal`."""
        if isinstance(reply, ResponseError):
            self._lose(f"renewing {self._key}", reply)
        elif reply != 1 and not self.ended:
            self._lose("our inbox is gone: this process was stopped for too long, or somebody deleted it")

    def end(self, error: BrokerError) -> None:
        """Have receive() raise a copy of `error` from now on. Only the first call counts."""
        self._reads.end = self._reads.end or error

    def _make_read(self, limit: int) -> tuple[list[Command], Accept]:
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

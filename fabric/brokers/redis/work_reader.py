"""Reads work from Redis: a stream with a consumer group, in which each consumer renews what it holds.

Another consumer claims an entry that its own has not renewed for CLAIM_AFTER. An entry that is given back arrives again as a
copy. adapter.py describes the stream; scripts.py has the steps that take more than one command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from fabric.brokers.base import Delivery
from fabric.brokers.redis import scripts
from fabric.brokers.redis.blocking_reader import BLOCK, Accept, BlockingReader, Lose
from fabric.brokers.redis.connection import Command, RedisConnection, Reply
from fabric.errors import BrokerClosed, BrokerError

GROUP = "consumers"

MOST_WORK_AT_ONCE = 16
"""The most entries of one read, so that competing consumers share a burst."""

CLAIM_AFTER = 10.0
"""Seconds without renewal after which another consumer claims held work. A living consumer renews every two seconds."""

CLAIM_EVERY = 2.0
"""Seconds between two searches for such work."""

FORGET_AFTER = 60
"""Seconds without renewal after which a consumer that holds no entries is removed."""

WORK_TTL = 600
"""Seconds that a work stream outlives its last publish and its last consumer: longer than a call waits by default."""


def consumers(key: str) -> str:
    """The key of the set of a work stream's consumers. No channel has this name, because escaped names have no dot."""
    return f"{key}.consumers"


class _Held(NamedTuple):
    """A delivery's token."""

    reader: WorkReader
    """The reader that got the delivery; no other acts on it."""
    id: bytes
    """The entry's id."""


class WorkReader:
    """One consumer of a work stream. See Subscription."""

    def __init__(self, key: str, consumer: str, reads: RedisConnection, commands: RedisConnection, lose: Lose) -> None:
        self._key = key
        self._consumer = consumer
        self._reads = BlockingReader(reads, key, lose)
        self._commands = commands
        self._lose = lose
        self._held: set[bytes] = set()
        self._claim_at = 0.0
        self._cursor = b"0-0"

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See Subscription."""
        return await self._reads.receive(limit, self._make_read)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See Subscription."""
        await self._settle(scripts.ACK, deliveries)

    async def nack(self, deliveries: Sequence[Delivery]) -> None:
        """See Subscription."""
        await self._settle(scripts.NACK, deliveries)

    async def aclose(self) -> None:
        """See Subscription."""
        if isinstance(self._reads.end, BrokerClosed):
            return
        self._reads.end = BrokerClosed("the subscription is closed")
        if self._reads.under_way is not None:  # it may still bring work, so LEAVE has to come after it
            self._commands.send([("CLIENT", "UNBLOCK", self._reads.connection.client)])
            await asyncio.wait([self._reads.under_way[0]], timeout=BLOCK + 1)
        await self._commands.send([("EVAL", scripts.LEAVE, 2, self._key, consumers(self._key), GROUP, self._consumer)])
        await self._reads.connection.aclose()

    @property
    def ended(self) -> bool:
        """Whether the subscription has ended."""
        return self._reads.end is not None

    def renewal(self) -> Command:
        """The command that renews the consumer and its entries, to be sent each PULSE (adapter.py)."""
        keys = (2, self._key, consumers(self._key))
        return ("EVAL", scripts.KEEP, *keys, GROUP, self._consumer, WORK_TTL, FORGET_AFTER, *self._held)

    def renewed(self, reply: Reply) -> None:
        """Take the reply to `renewal`."""
        if isinstance(reply, ResponseError):
            self._lose(f"renewing {self._key}", reply)
        elif reply != 1 and not self.ended:
            self._lose(f"{self._key} is gone: somebody deleted it")

    def end(self, error: BrokerError) -> None:
        """Have receive() raise a copy of `error` from now on. Only the first call counts."""
        self._reads.end = self._reads.end or error

    def _make_read(self, limit: int) -> tuple[list[Command], Accept]:
        count, now = min(limit, MOST_WORK_AT_ONCE), asyncio.get_running_loop().time()
        if now >= self._claim_at:
            self._claim_at = now + CLAIM_EVERY
            idle = int(CLAIM_AFTER * 1000)
            return [("XAUTOCLAIM", self._key, GROUP, self._consumer, idle, self._cursor, "COUNT", count)], self._accept_claimed
        block = int(BLOCK * 1000)
        read = ("XREADGROUP", "GROUP", GROUP, self._consumer, "COUNT", count, "BLOCK", block, "STREAMS", self._key, ">")
        return [read], self._accept_new

    def _accept_claimed(self, reply: Any) -> None:
        self._cursor = reply[0]
        self._accept(reply[1], claimed=True)

    def _accept_new(self, reply: Any) -> None:
        if reply is not None:
            self._accept(reply[0][1], claimed=False)

    def _accept(self, entries: list[tuple[bytes, list[bytes]]], *, claimed: bool) -> None:
        for id, fields in entries:
            if id not in self._held:  # after a stall of our own we may claim an entry that we hold
                self._held.add(id)
                self._reads.ready.append(Delivery(fields[1], _Held(self, id), claimed or fields[0] == b"r"))

    async def _settle(self, script: str, deliveries: Sequence[Delivery]) -> None:
        tokens = [delivery.token for delivery in deliveries]
        ids = [token.id for token in tokens if isinstance(token, _Held) and token.reader is self and token.id in self._held]
        self._held.difference_update(ids)
        if ids:
            replies = await self._commands.send([("EVAL", script, 1, self._key, GROUP, self._consumer, *ids)])
            if replies and isinstance(replies[0], ResponseError):
                self._lose(f"acknowledging {self._key}", replies[0])

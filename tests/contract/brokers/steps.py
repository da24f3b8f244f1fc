"""Steps that the broker contract tests share: which brokers a test runs on, publishing, and receiving."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from fabric.addressing import Channel, ChannelKind
from fabric.brokers.base import Delivery, OutgoingMessage, Subscription
from fabric.errors import BrokerError
from tests.brokers import FAMILIES

EVERY = pytest.mark.parametrize("family", FAMILIES, ids=str)
KEEPING = pytest.mark.parametrize("family", [family for family in FAMILIES if family.keeps], ids=str)
BOUNDED = pytest.mark.parametrize("family", [family for family in FAMILIES if family.bounded], ids=str)
SEPARATE = pytest.mark.parametrize("family", [family for family in FAMILIES if family.separate], ids=str)
KINDS = pytest.mark.parametrize("kind", list(ChannelKind), ids=str)


def outgoing(channel: Channel, *bodies: bytes) -> list[OutgoingMessage]:
    """Messages with these bodies for one channel."""
    return [OutgoingMessage(channel, body) for body in bodies]


def numbered(count: int, word: str = "") -> list[bytes]:
    return [b"%s%d" % (word.encode(), number) for number in range(count)]


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    return [delivery.body for delivery in deliveries]


async def take(subscription: Subscription, count: int, limit: int = 64, timeout: float = 30) -> list[Delivery]:
    """Receive `count` deliveries. TimeoutError if they do not arrive."""
    taken: list[Delivery] = []
    async with asyncio.timeout(timeout):
        while len(taken) < count:
            taken += await subscription.receive(min(limit, count - len(taken)))
    return taken


async def assert_reading_raises(error: type[BrokerError], subscription: Subscription) -> None:
    """Receiving raises this error once the messages that had already arrived are read."""

    async def read() -> None:
        while True:
            await subscription.receive(64)

    async with asyncio.timeout(30):
        with pytest.raises(error):
            await read()

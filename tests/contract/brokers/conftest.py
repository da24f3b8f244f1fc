"""What the brokers' contract suites share: brokers that run, and connections that are closed again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from fabric.brokers import registry
from fabric.brokers.base import Broker
from tests.brokers import Family, Server

Connect = Callable[..., Awaitable[Broker]]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Family], Server]]:
    """One broker of each family for the whole run; tests keep apart by the names of their fabrics."""
    servers: dict[str, Server] = {}

    def get(family: Family) -> Server:
        if family.name not in servers:
            servers[family.name] = family.make(tmp_path_factory.mktemp(family.name)).start()
        return servers[family.name]

    yield get
    for server in servers.values():
        server.kill()


@pytest.fixture
def server(family: Family, running: Callable[[Family], Server]) -> Server:
    """A broker that other tests use too."""
    return running(family)


@pytest.fixture
def own_server(family: Family, tmp_path: Path) -> Iterator[Server]:
    """A broker this test may mistreat."""
    server = family.make(tmp_path).start()
    yield server
    server.release()


@pytest.fixture
def fabric() -> str:
    """A fabric of this test's own."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
async def connect(fabric: str) -> AsyncIterator[Connect]:
    """Connections as the fabric makes them, closed when the test ends."""
    made: list[Broker] = []

    async def make(url: str, incarnation: str = "", fabric: str = fabric, timeout: float = 5.0) -> Broker:
        broker = await registry.connect(url, fabric=fabric, incarnation=incarnation or uuid4().hex, timeout=timeout)
        made.append(broker)
        return broker

    yield make
    async with asyncio.timeout(30):
        for broker in made:
            await broker.aclose()

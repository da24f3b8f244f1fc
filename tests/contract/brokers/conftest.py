"""Fixtures of the broker contract suites: running brokers, and connections that are closed when a test ends."""

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
    """One broker of each family for the whole run; each test uses a fabric name of its own."""
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
    """A broker shared with other tests."""
    return running(family)


@pytest.fixture
def own_server(family: Family, tmp_path: Path) -> Iterator[Server]:
    """A broker of this test's own, which it may stop or kill."""
    server = family.make(tmp_path).start()
    yield server
    server.release()


@pytest.fixture
def fabric() -> str:
    """A fabric name that no other test uses."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
async def connect(fabric: str) -> AsyncIterator[Connect]:
    """Opens connections through the registry, and closes them when the test ends."""
    opened: list[Broker] = []

    async def open_connection(url: str, incarnation: str = "", fabric: str = fabric, timeout: float = 5.0) -> Broker:
        broker = await registry.connect(url, fabric=fabric, incarnation=incarnation or uuid4().hex, timeout=timeout)
        opened.append(broker)
        return broker

    yield open_connection
    async with asyncio.timeout(30):
        for broker in opened:
            await broker.aclose()

"""A peer that sends garbage, closes, resets or stalls raises a broker error at any point, on either event loop."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from fabric.addressing import Channel, ChannelKind, inbox
from fabric.brokers import registry
from fabric.errors import BrokerError, BrokerProtocolError, BrokerReset, BrokerTimeout, BrokerUnavailable
from tests.brokers import Server
from tests.contract.brokers.steps import SEPARATE, assert_reading_raises, outgoing
from tests.contract.brokers.test_errors import assert_clear
from tests.contract.conftest import BOTH_LOOPS
from tests.tcp_server import tcp_server

pytestmark = [pytest.mark.requirement("K01", "L20"), pytest.mark.timeout(240), SEPARATE]

Spoil = Callable[[asyncio.StreamWriter], Awaitable[None]]
TIMEOUT = 1.0
"""Seconds that connecting may take in these tests: a silent peer is given up after it."""
GARBAGE = random.Random(7).randbytes(200_000)
NEVER = 1 << 30
POINTS = 12
ATTEMPTS = 10


@pytest.fixture(autouse=True)
async def unhandled_errors() -> AsyncIterator[list[str]]:
    """The errors that the event loop reports because nobody retrieved them; a test that leaves one fails."""
    reports: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(repr(context)))
    yield reports
    assert not reports


def at(server: Server, port: int) -> str:
    """The broker's URL with another port."""
    return server.url.replace(str(server.port), str(port))


def accept_and_close(listening: socket.socket, count: int) -> None:
    for _ in range(count):
        listening.accept()[0].close()


async def close(_: asyncio.StreamWriter) -> None:
    """Return: the connection is then closed in order."""


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def garble(writer: asyncio.StreamWriter) -> None:
    writer.write(GARBAGE)
    await writer.drain()


async def stall(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


class Spoiler:
    """Relays a broker to its client until it has sent `after` bytes, then calls `spoil` on the connection."""

    def __init__(self, port: int, after: int, spoil: Spoil) -> None:
        self.relayed = 0
        self._port = port
        self._after = after
        self._spoil = spoil

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._after:  # at once, without connecting to the broker
            await self._spoil(writer)
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        asking = asyncio.create_task(self._ask(reader, back))
        try:
            while self.relayed < self._after and (data := await there.read(min(65536, self._after - self.relayed))):
                self.relayed += len(data)
                writer.write(data)
                await writer.drain()
            if self.relayed >= self._after:
                await self._spoil(writer)
        finally:
            back.transport.abort()
            asking.cancel()
            await asyncio.wait([asking])

    async def _ask(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while (data := await reader.read(65536)) and not back.transport.is_closing():
            back.write(data)


@asynccontextmanager
async def spoiled(server: Server, after: int, spoil: Spoil) -> AsyncIterator[tuple[Spoiler, str]]:
    """A relay to the broker that spoils the connection after so many bytes, and the broker's URL through it."""
    spoiler = Spoiler(server.port, after, spoil)
    async with tcp_server(spoiler.join) as port:
        yield spoiler, at(server, port)


async def use(url: str, fabric: str, used: asyncio.Event) -> None:
    """Do everything with a broker until it fails. Sets `used` before it waits for the end. Raises the failure."""
    broker = await registry.connect(url, fabric=fabric, incarnation="client", timeout=TIMEOUT)
    try:
        subscriptions = [await broker.subscribe(Channel(kind, "relayed")) for kind in ChannelKind]
        for kind, subscription in zip(ChannelKind, subscriptions, strict=True):
            await broker.publish(outgoing(Channel(kind, "relayed"), b"one", b"two"))
            await subscription.ack(await subscription.receive(8))
        used.set()
        lost = await broker.lost()
        for subscription in subscriptions:
            await assert_reading_raises(BrokerError, subscription)
            await subscription.nack([])
        with pytest.raises(BrokerError):
            await broker.publish(outgoing(inbox("relayed"), b"three"))
        with pytest.raises(BrokerError):
            await broker.subscribe(inbox("other"))
        raise BrokerUnavailable(lost)
    finally:
        async with asyncio.timeout(20):
            await broker.aclose()


async def bytes_sent(server: Server, fabric: str) -> int:
    """How many bytes the broker sends in the course of `use`."""
    async with spoiled(server, NEVER, close) as (spoiler, url):
        used = asyncio.Event()
        using = asyncio.create_task(use(url, fabric, used))
        async with asyncio.timeout(20):
            await used.wait()
        using.cancel()
        await asyncio.wait([using], timeout=20)
        return spoiler.relayed


async def connect_error(server: Server, spoil: Spoil, kind: type[BrokerError]) -> BrokerError:
    """The error of connecting to a port that accepts and then does this."""
    async with spoiled(server, 0, spoil) as (_, url):
        with pytest.raises(kind) as failed:
            await registry.connect(url, fabric="relayed", incarnation="client", timeout=TIMEOUT)
        assert_clear(failed.value, urlsplit(url).port)
        return failed.value


@BOTH_LOOPS
async def test_a_port_that_closes_after_accepting_is_a_reset(server: Server) -> None:
    failed = await connect_error(server, close, BrokerReset)
    assert "does not speak" not in str(failed)


@BOTH_LOOPS
async def test_a_port_that_closes_before_its_client_reads_is_a_reset(server: Server) -> None:
    """As a load balancer without its broker does. A thread closes, so that the end has arrived before the loop first reads."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        listening.settimeout(20)
        threading.Thread(target=accept_and_close, args=(listening, ATTEMPTS), daemon=True).start()
        for _ in range(ATTEMPTS):
            with pytest.raises(BrokerReset) as failed:
                await registry.connect(at(server, port), fabric="relayed", incarnation="client")
            assert_clear(failed.value, port)


@BOTH_LOOPS
async def test_a_port_that_resets_after_accepting_is_a_reset(server: Server) -> None:
    await connect_error(server, reset, BrokerReset)


@BOTH_LOOPS
async def test_a_port_that_sends_garbage_is_a_protocol_error(server: Server) -> None:
    await connect_error(server, garble, BrokerProtocolError)


@BOTH_LOOPS
async def test_a_port_that_accepts_and_stays_silent_is_a_timeout(server: Server) -> None:
    await connect_error(server, stall, BrokerTimeout)


@pytest.mark.parametrize("spoil", [close, reset, garble], ids=lambda spoil: spoil.__name__)
async def test_a_broker_that_fails_after_any_number_of_bytes_raises_a_broker_error(
    server: Server, fabric: str, spoil: Spoil
) -> None:
    whole = await bytes_sent(server, fabric)
    assert whole > POINTS
    for point in range(1, POINTS + 1):
        async with spoiled(server, whole * point // POINTS, spoil) as (_, url):
            with pytest.raises(BrokerError):
                async with asyncio.timeout(20):
                    await use(url, fabric, asyncio.Event())

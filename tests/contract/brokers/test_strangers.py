"""Whatever a broker's port says, and wherever it breaks off, it fails with the family's errors, on either event loop."""

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
from tests.contract.brokers.steps import SEPARATE, say, soon
from tests.contract.brokers.test_errors import clear
from tests.contract.conftest import BOTH_LOOPS
from tests.conversing import conversing

pytestmark = [pytest.mark.requirement("K01", "L20"), pytest.mark.timeout(240), SEPARATE]

Spoil = Callable[[asyncio.StreamWriter], Awaitable[None]]
TIMEOUT = 1.0
"""Seconds a connect has here: who is silent is found out by it."""
GARBAGE = random.Random(7).randbytes(200_000)
NEVER = 1 << 30
PLACES = 12
ATTEMPTS = 10


@pytest.fixture(autouse=True)
async def complaints() -> AsyncIterator[list[str]]:
    """What the loop has to say of errors that nobody fetched; a test that leaves any has failed."""
    said: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(repr(context)))
    yield said
    assert not said


def at(server: Server, port: int) -> str:
    """The broker's URL, but for its port."""
    return server.url.replace(str(server.port), str(port))


def hang_up(listening: socket.socket, count: int) -> None:
    for _ in range(count):
        listening.accept()[0].close()


async def close(_: asyncio.StreamWriter) -> None:
    """End it in an orderly way."""


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def garble(writer: asyncio.StreamWriter) -> None:
    writer.write(GARBAGE)
    await writer.drain()


async def stall(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


class Spoiler:
    """Carries bytes to and from a broker until it has said so many, then does something else to its client."""

    def __init__(self, port: int, after: int, spoil: Spoil) -> None:
        self.said = 0
        self._port = port
        self._after = after
        self._spoil = spoil

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._after:  # at once: what ends before its client has looked is another case
            await self._spoil(writer)
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        asking = asyncio.create_task(self._ask(reader, back))
        try:
            while self.said < self._after and (data := await there.read(min(65536, self._after - self.said))):
                self.said += len(data)
                writer.write(data)
                await writer.drain()
            if self.said >= self._after:
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
    """A way to the broker that is spoiled after so many bytes, and its URL."""
    spoiler = Spoiler(server.port, after, spoil)
    async with conversing(spoiler.join) as port:
        yield spoiler, at(server, port)


async def use(url: str, fabric: str, used: asyncio.Event) -> None:
    """All that is done with a broker, until it fails; `used` is set before only its end is waited for. Raises why it failed."""
    broker = await registry.connect(url, fabric=fabric, incarnation="stranger", timeout=TIMEOUT)
    try:
        subscriptions = [await broker.subscribe(Channel(kind, "strange")) for kind in ChannelKind]
        for kind, subscription in zip(ChannelKind, subscriptions, strict=True):
            await broker.publish(say(Channel(kind, "strange"), b"one", b"two"))
            await subscription.ack(await subscription.receive(8))
        used.set()
        lost = await broker.lost()
        for subscription in subscriptions:
            await soon(BrokerError, subscription)
            await subscription.nack([])
        with pytest.raises(BrokerError):
            await broker.publish(say(inbox("strange"), b"three"))
        with pytest.raises(BrokerError):
            await broker.subscribe(inbox("other"))
        raise BrokerUnavailable(lost)
    finally:
        async with asyncio.timeout(20):
            await broker.aclose()


async def length(server: Server, fabric: str) -> int:
    """How many bytes a broker says to all of that."""
    async with spoiled(server, NEVER, close) as (spoiler, url):
        used = asyncio.Event()
        using = asyncio.create_task(use(url, fabric, used))
        async with asyncio.timeout(20):
            await used.wait()
        using.cancel()
        await asyncio.wait([using], timeout=20)
        return spoiler.said


async def accept_and(server: Server, spoil: Spoil, kind: type[BrokerError]) -> BrokerError:
    async with spoiled(server, 0, spoil) as (_, url):
        with pytest.raises(kind) as failed:
            await registry.connect(url, fabric="strange", incarnation="stranger", timeout=TIMEOUT)
        clear(failed.value, urlsplit(url).port)
        return failed.value


@BOTH_LOOPS
async def test_a_port_that_accepts_and_closes_has_reset_us(server: Server) -> None:
    failed = await accept_and(server, close, BrokerReset)
    assert "does not speak" not in str(failed)


@BOTH_LOOPS
async def test_a_port_that_closes_before_its_client_looks_has_reset_us(server: Server) -> None:
    """As a balancer without its broker does: from a thread, so that the end is there when the loop looks for the first time."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        listening.settimeout(20)
        threading.Thread(target=hang_up, args=(listening, ATTEMPTS), daemon=True).start()
        for _ in range(ATTEMPTS):
            with pytest.raises(BrokerReset) as failed:
                await registry.connect(at(server, port), fabric="strange", incarnation="stranger")
            clear(failed.value, port)


@BOTH_LOOPS
async def test_a_port_that_accepts_and_resets_has_reset_us(server: Server) -> None:
    await accept_and(server, reset, BrokerReset)


@BOTH_LOOPS
async def test_a_port_that_talks_nonsense_is_no_broker(server: Server) -> None:
    await accept_and(server, garble, BrokerProtocolError)


@BOTH_LOOPS
async def test_a_port_that_accepts_and_is_silent_is_a_timeout(server: Server) -> None:
    await accept_and(server, stall, BrokerTimeout)


@pytest.mark.parametrize("spoil", [close, reset, garble], ids=lambda spoil: spoil.__name__)
async def test_a_broker_that_breaks_off_anywhere_is_an_error_of_the_family(server: Server, fabric: str, spoil: Spoil) -> None:
    whole = await length(server, fabric)
    assert whole > PLACES
    for place in range(1, PLACES + 1):
        async with spoiled(server, whole * place // PLACES, spoil) as (_, url):
            with pytest.raises(BrokerError):
                async with asyncio.timeout(20):
                    await use(url, fabric, asyncio.Event())

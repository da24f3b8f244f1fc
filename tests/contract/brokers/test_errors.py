"""Each failure of a broker raises a class of fabric/errors.py whose message names the place and a remedy, and no secret."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from fabric.addressing import inbox, work
from fabric.errors import (
    BrokerDenied,
    BrokerError,
    BrokerProtocolError,
    BrokerRefused,
    BrokerTimeout,
    BrokerUnavailable,
    PublishFailed,
)
from tests.brokers import SECRET, Server
from tests.contract.brokers.conftest import Connect
from tests.contract.brokers.steps import BOUNDED, EVERY, SEPARATE, outgoing
from tests.ports import free_port
from tests.tcp_server import tcp_server

pytestmark = [pytest.mark.requirement("K04", "L20"), pytest.mark.timeout(240)]


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes."""
    cause: BaseException | None = error
    seen: list[BaseException] = []
    while cause is not None and cause not in seen:
        seen.append(cause)
        yield cause
        cause = cause.__cause__ or cause.__context__


def assert_clear(error: BrokerError, *mentions: object) -> None:
    """The message contains `mentions` and a remedy after a semicolon; neither it nor a cause shows the secret."""
    text = str(error)
    assert ";" in text, text
    for mention in mentions:
        assert str(mention) in text
    for cause in chain(error):
        assert SECRET not in f"{cause} {cause!r} {cause.args!r} {vars(cause)!r}"


async def connect_error(
    connect: Connect, server: Server, port: int, kind: type[BrokerError], timeout: float = 5.0
) -> BrokerError:
    """The error of connecting to this port as if it were that server."""
    with pytest.raises(kind) as failed:
        await connect(server.url.replace(str(server.port), str(port)), timeout=timeout)
    assert_clear(failed.value, port)
    return failed.value


# ---------------------------------------------------------------- connecting


@SEPARATE
async def test_a_port_without_a_listener_is_refused(server: Server, connect: Connect) -> None:
    await connect_error(connect, server, free_port(), BrokerRefused)


@SEPARATE
async def test_a_host_that_does_not_exist_is_refused(server: Server, connect: Connect) -> None:
    with pytest.raises(BrokerRefused, match=r"no\.such\.invalid") as refused:
        await connect(server.url.replace("127.0.0.1", "no.such.invalid"))
    assert_clear(refused.value, server.port)


@SEPARATE
async def test_a_port_that_sends_nothing_is_a_timeout(server: Server, connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        await connect_error(connect, server, silent.getsockname()[1], BrokerTimeout, timeout=0.3)


@SEPARATE
async def test_a_web_server_is_a_protocol_error(server: Server, connect: Connect) -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n")
        await writer.drain()
        await reader.read(1024)

    async with tcp_server(web) as port:
        await connect_error(connect, server, port, BrokerProtocolError, timeout=20)


@SEPARATE
@pytest.mark.parametrize("greeting", [
    b"INFO 5\r\n", b"INFO [1]\r\n", b"INFO null\r\n", b'INFO {"connect_urls": 5, "max_payload": "x"}\r\n',
    b"INFO {\r\n", b"INFO \xff\r\n",
    b"*1\r\n$-7\r\n", b"%x\r\n", b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0a\xce", b"\0" * 64,
])  # fmt: skip
async def test_an_invalid_greeting_is_reported_without_python_internals(
    server: Server, connect: Connect, greeting: bytes
) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.write_eof()
        await reader.read()

    async with tcp_server(greet) as port:
        with pytest.raises(BrokerUnavailable) as failed:
            await connect(server.url.replace(str(server.port), str(port)), timeout=5)
    assert_clear(failed.value, port)
    assert "object" not in str(failed.value)
    assert "NoneType" not in str(failed.value)


@SEPARATE
async def test_wrong_credentials_are_denied(server: Server, connect: Connect) -> None:
    with pytest.raises(BrokerDenied) as denied:
        await connect(server.denied_url)
    assert_clear(denied.value, server.port, "credentials")


# ---------------------------------------------------------------- publishing (test_connections.py covers lost connections)


@EVERY
async def test_an_oversized_message_is_reported_as_overflow(server: Server, connect: Connect) -> None:
    broker = await connect(server.url)
    largest = broker.traits.largest_message_bytes
    with pytest.raises(PublishFailed, match=f"overflow.* {largest} ") as failed:
        await broker.publish(outgoing(inbox("long"), bytes(largest + 1)))
    assert_clear(failed.value)


@BOUNDED
async def test_a_full_queue_is_reported_as_full(server: Server, connect: Connect) -> None:
    broker = await connect(server.url)
    await broker.subscribe(work("full"))
    filling = outgoing(work("full"), *[bytes(1024 * 1024) if not broker.traits.keeps else b"x"] * 1000)

    async def overfill() -> None:
        while True:
            await broker.publish(filling)

    with pytest.raises(PublishFailed, match="full") as failed:
        await overfill()
    assert_clear(failed.value)

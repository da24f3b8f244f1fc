"""The private attribute of redis-py that the adapter uses is there, and is the socket."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio.connection import Connection

from fabric.brokers.url import parse
from tests.brokers import FAMILIES, Server

pytestmark = pytest.mark.parametrize("family", [family for family in FAMILIES if family.name == "redis"], ids=str)


async def test_the_socket_of_a_connection_can_be_aborted(server: Server) -> None:
    parts = parse(server.url, default_port=0)
    connection = Connection(host=parts.host, port=parts.port, username=parts.user, password=parts.password)
    assert connection._writer is None
    await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's own, without annotations
    assert connection._writer is not None
    connection._writer.transport.abort()
    await asyncio.wait_for(connection._writer.wait_closed(), 5)
    await connection.disconnect()

"""The private attributes of nats-py that the adapter uses are there, and mean what it takes them for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fabric.brokers.nats.client import Client, Inlet, Msg
from tests.brokers import FAMILIES, SECRET, Server

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.parametrize("family", [family for family in FAMILIES if family.name == "nats"], ids=str),
]


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    """A connection without the fabric's adapter."""
    client = Client()
    await client.connect(f"nats://127.0.0.1:{server.port}", token=SECRET, allow_reconnect=False)
    yield client
    await client.close()


async def test_it_shows_whether_the_server_requires_tls(client: Client) -> None:
    assert client.tls_required is False
    assert client._server_info["max_payload"] == client.max_payload  # it is the server's greeting


async def test_an_aborted_connection_ends_its_reader(client: Client) -> None:
    ended = asyncio.Event()
    client.on_reader_done(lambda _: ended.set())
    assert not client.at_eof
    client.abort()
    await asyncio.wait_for(ended.wait(), 5)
    assert client.at_eof


async def test_a_stopped_subscription_takes_what_is_on_its_way_and_no_more(client: Client) -> None:
    taken: list[Msg] = []
    subscription = await client.subscribe("subject", future=Inlet(taken.append))
    await client.publish("subject", b"before")
    await client.stop_sending(subscription)
    await client.publish("subject", b"after")
    await client.flush()
    assert [message.data for message in taken] == [b"before"]

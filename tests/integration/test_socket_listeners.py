"""Clients of a fabric's TCP and Unix socket listeners: both eras, the SDK, many at once, and half-closed connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import mcp.types
import pytest
from mcp.client.client import Client as SdkClient
from mcp.shared.message import SessionMessage

from tests.integration.mcp_over_http import text
from tests.integration.socket_client import connected, each_socket

pytestmark = [pytest.mark.requirement("L04", "L05"), pytest.mark.timeout(240)]


@each_socket
async def test_a_client_of_each_era_is_served_over_a_socket(listeners: dict[str, str], scheme: str) -> None:
    async with connected(listeners[scheme]) as modern, connected(listeners[scheme]) as legacy:
        assert text(await modern.call("echo", 7, text="modern")) == "modern"
        assert (await legacy.initialize())["result"]["serverInfo"]["name"]
        assert text(await legacy.request("tools/call", "7", name="echo", arguments={"text": "legacy"})) == "legacy"


@each_socket
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_sdk_is_served_over_a_socket(listeners: dict[str, str], scheme: str, mode: str) -> None:
    async with SdkClient(sdk_transport(listeners[scheme]), mode=mode) as client, asyncio.timeout(60):
        answer = await client.call_tool("echo", {"text": "through a socket"})
        content = answer.content[0]
        assert isinstance(content, mcp.types.TextContent)
        assert content.text == "through a socket"


@asynccontextmanager
async def sdk_transport(address: str) -> AsyncIterator[Any]:
    """A transport for the SDK, which has none for sockets."""
    to_client, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, from_client = anyio.create_memory_object_stream[SessionMessage](0)
    async with connected(address) as connection, anyio.create_task_group() as group:

        async def read() -> None:
            async with to_client:
                while line := await connection.reader.readline():
                    message = mcp.types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                    await to_client.send(SessionMessage(message))

        async def write() -> None:
            async with from_client:
                async for sent in from_client:
                    connection.writer.write(sent.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")

        group.start_soon(read)
        group.start_soon(write)
        yield incoming, outgoing
        group.cancel_scope.cancel()


async def test_two_hundred_clients_with_the_same_id_get_their_own_answers(listeners: dict[str, str]) -> None:
    async with AsyncExitStack() as stack:
        addresses = [listeners[scheme] for scheme in ("tcp", "unix") for _ in range(100)]
        clients = [await stack.enter_async_context(connected(address)) for address in addresses]
        answers = await asyncio.gather(*(client.call("echo", 1, text=f"{n}") for n, client in enumerate(clients)))
    assert [text(answer) for answer in answers] == [f"{number}" for number in range(200)]


# ---------------------------------------------------------------- half-closed connections
@each_socket
async def test_a_half_closed_connection_still_gets_its_answers(listeners: dict[str, str], scheme: str) -> None:
    async with connected(listeners[scheme]) as client:
        client.send_call("echo", text="last")
        client.writer.write_eof()
        assert text(await client.receive()) == "last"
        assert await client.receive() is None


@each_socket
async def test_a_request_unanswered_at_the_half_closed_timeout_is_outcome_unknown(
    listeners: dict[str, str], scheme: str
) -> None:
    async with connected(listeners[scheme]) as client:
        client.send_call("slow", 1, seconds=50)
        client.send({"id": 2, "method": "ping"})
        client.writer.write_eof()
        assert (await client.receive())["id"] == 2
        assert (await client.receive())["error"]["data"]["reason"] == "outcome_unknown"
        assert await client.receive() is None


async def test_half_closed_connections_that_wait_delay_no_other_client(listeners: dict[str, str]) -> None:
    async with AsyncExitStack() as stack:
        waiting = [await stack.enter_async_context(connected(listeners["tcp"])) for _ in range(50)]
        for client in waiting:
            client.send_call("slow", seconds=1)
            client.writer.write_eof()
        other = await stack.enter_async_context(connected(listeners["tcp"]))
        for number in range(20):
            assert text(await other.call("echo", number, text="served")) == "served"
        assert all("result" in answer for answer in await asyncio.gather(*(client.receive() for client in waiting)))

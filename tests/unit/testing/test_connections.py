"""The parts for users' tests, with clients and servers of the SDK: connections in memory, scripts, faults."""

from __future__ import annotations

import asyncio
from typing import Literal

import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.server.mcpserver import MCPServer

from fabric.errors import ConfigError, LinkBroken
from fabric.testing import FaultyLink, Peer, breaking, doubling, faulty, in_memory, losing, peers, scripted, unharmed

WAIT = 30.0
"""Longest wait for something that has to happen, in seconds."""
INITIALIZED = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "script", "version": "1"},
}
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
OPENING = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}

pytestmark = pytest.mark.requirement("L19")


def counting() -> tuple[MCPServer, list[int]]:
    """A server that counts, and what it has counted."""
    server, counted = MCPServer("counter"), list[int]()

    @server.tool()
    def count() -> int:
        counted.append(len(counted) + 1)
        return len(counted)

    return server, counted


async def counted(client: Client) -> str:
    block = (await client.call_tool("count", {})).content[0]
    assert isinstance(block, types.TextContent)
    return block.text


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_client_uses_a_server_object_in_memory(mode: Literal["legacy", "auto"]) -> None:
    connection = in_memory(counting()[0])
    for expected in ("1", "2"):
        async with asyncio.timeout(WAIT), Client(connection, mode=mode) as client:
            assert await counted(client) == expected


async def test_a_client_is_answered_by_a_script() -> None:
    tools = [{"name": "count", "inputSchema": {"type": "object"}}]
    server = scripted({"initialize": lambda _: INITIALIZED, "tools/list": lambda _: {"tools": tools}})
    async with asyncio.timeout(WAIT), Client(server, mode="legacy") as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["count"]


async def test_a_scripted_client_uses_a_server_object() -> None:
    async with asyncio.timeout(WAIT), in_memory(counting()[0]).link() as link:
        peer = Peer(link)
        assert b'"name":"counter"' in (await peer.call("initialize", OPENING)).frame
        peer.notify("notifications/initialized")
        assert b'"text":"1"' in (await peer.call("tools/call", {"name": "count"})).frame


async def test_a_lost_request_is_not_answered() -> None:
    server, calls = counting()
    async with Client(faulty(in_memory(server), sent=losing("tools/call")), mode="legacy") as client:
        with pytest.raises(MCPError, match="out"):
            await client.call_tool("count", {}, read_timeout_seconds=0.1)
    assert calls == []


async def test_a_doubled_request_runs_twice() -> None:
    server, calls = counting()
    async with asyncio.timeout(WAIT), faulty(in_memory(server), sent=doubling("tools/call")).link() as link:
        peer = Peer(link)
        await peer.call("initialize", OPENING)
        peer.notify("notifications/initialized")
        await peer.call("tools/call", {"name": "count"})
        await peer.step()
    assert calls == [1, 2]


async def test_a_link_that_breaks_in_sending_is_broken_for_its_reader() -> None:
    client, _ = peers()
    link = FaultyLink(client.link, breaking("ping"), unharmed)
    async with asyncio.timeout(WAIT), asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(broken(link))
        await asyncio.sleep(0)
        with pytest.raises(LinkBroken, match="a test broke the link at ping"):
            link.send(PING)
        await reading
    await link.aclose()


async def test_a_link_that_breaks_in_receiving_is_broken_for_its_sender() -> None:
    client, server = peers()
    link = FaultyLink(client.link, unharmed, breaking("ping"))
    async with asyncio.timeout(WAIT):
        server.notify("ping")
        await broken(link)
        with pytest.raises(LinkBroken):
            link.send(PING)
    await link.aclose()


async def broken(link: FaultyLink) -> None:
    with pytest.raises(LinkBroken, match="a test broke the link at ping"):
        await link.receive()


def test_what_is_no_server_is_refused() -> None:
    with pytest.raises(ConfigError, match="is no server of the MCP SDK"):
        in_memory("server.py")

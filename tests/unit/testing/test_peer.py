"""Scripted peers hold a real conversation over a pair of links in memory."""

from __future__ import annotations

import asyncio

import msgspec

from fabric.mcp.jsonrpc import METHOD_NOT_FOUND
from fabric.testing.peer import peers


async def test_scripted_peers_answer_each_other_and_record_the_messages_they_receive() -> None:
    client, server = peers({"roots/list": lambda _: {"roots": []}}, {"tools/call": lambda params: {"echo": params}})
    serving = asyncio.create_task(server.run())
    answer = await asyncio.wait_for(client.call("tools/call", {"name": "x"}), 30)
    assert msgspec.json.decode(answer.frame)["result"] == {"echo": {"name": "x"}}
    unknown = await asyncio.wait_for(client.call("nope"), 30)
    assert msgspec.json.decode(unknown.error)["code"] == METHOD_NOT_FOUND
    client.notify("notifications/initialized")
    await client.link.aclose()
    await asyncio.wait_for(serving, 30)
    assert [message.method for message in server.received] == ["tools/call", "nope", "notifications/initialized"]

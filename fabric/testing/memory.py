"""Connections in memory: to a server object of the MCP SDK, or to a scripted server, without broker, socket or process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fabric.client.connection import Connection
from fabric.client.sessions import Sessions, lowlevel_server
from fabric.links.base import Link, new_link_id
from fabric.testing.peer import Answer, peers


def in_memory(server: Any) -> Connection:
    """A connection to a server object of the SDK, low-level or high-level. Each entry is a session. Raises ConfigError."""
    found = lowlevel_server(server)
    return Connection(lambda: _session(found))


def scripted(answers: Mapping[str, Answer]) -> Connection:
    """A connection to a server that answers by a script: by method, a function of the params that returns the result."""
    return Connection(lambda: _script(answers))


@asynccontextmanager
async def _session(server: Any) -> AsyncIterator[Link]:
    sessions = Sessions(server)
    link = sessions.begin(new_link_id("memory"))
    try:
        yield link
    finally:
        await link.aclose()
        await sessions.aclose()


@asynccontextmanager
async def _script(answers: Mapping[str, Answer]) -> AsyncIterator[Link]:
    client, server = peers(server_answers=answers)
    running = asyncio.create_task(server.run())
    try:
        yield client.link
    finally:
        await client.link.aclose()
        await running
        await server.link.aclose()

"""A conversation with a server of the fabric from inside a worker: over a link in memory, through the worker's own edge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fabric.runtime.edge import Edge
from fabric.runtime.inside_link import inside_link
from workers.answering.host import Host
from workers.asking.client import Client


@asynccontextmanager
async def conversation(edge: Edge, server: str, max_frame_bytes: int, host: Host | None = None) -> AsyncIterator[Client]:
    """An open client of that server. `host` answers what the server asks. Raises Refused."""
    async with inside_link(edge, server, max_frame_bytes) as link:
        client = Client(link, host)
        await client.open()
        yield client

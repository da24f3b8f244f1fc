"""A conversation with a server of the fabric from inside a worker: over a link in memory, through the worker's own edge."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fabric.links.base import LinkInfo
from fabric.links.memory import pair
from fabric.runtime.edge import Edge
from workers.answering.host import Host
from workers.asking.client import Client


@asynccontextmanager
async def conversation(edge: Edge, server: str, max_frame_bytes: int, host: Host | None = None) -> AsyncIterator[Client]:
    """An open client of that server. `host` answers what the server asks. Raises Refused."""
    id = f"inside-{secrets.token_hex(4)}"
    ours, theirs = pair(
        LinkInfo(id=f"{id}-client", transport="memory", server=server),
        LinkInfo(id=id, transport="memory", server=server),
        max_frame_bytes=max_frame_bytes,
    )
    attending = asyncio.ensure_future(edge.attend(theirs))
    try:
        client = Client(ours, host)
        await client.open()
        yield client
    finally:
        await ours.aclose()
        await attending
        await theirs.aclose()

"""A link in memory to a server of the fabric, through the edge of this same process.

Above it: fabric/client, and the commands that ask a server. Below it: the edge and links in memory.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fabric.links.base import Link, LinkInfo
from fabric.links.memory import pair
from fabric.runtime.edge import Edge


@asynccontextmanager
async def inside_link(edge: Edge, server: str, max_frame_bytes: int) -> AsyncIterator[Link]:
    """The client's end of such a link. The edge ends it when its node fails; leaving cancels the requests that are open."""
    id = f"inside-{secrets.token_hex(4)}"
    ours, theirs = pair(
        LinkInfo(id=f"{id}-client", transport="memory", server=server),
        LinkInfo(id=id, transport="memory", server=server),
        max_frame_bytes=max_frame_bytes,
    )
    attending = asyncio.ensure_future(_attend(edge, theirs))

    def end(_: object) -> None:
        attending.cancel()

    edge.node.failed.add_done_callback(end)
    try:
        yield ours
    finally:
        edge.node.failed.remove_done_callback(end)
        await ours.aclose()
        await asyncio.wait([attending])
        if not attending.cancelled():
            attending.result()


async def _attend(edge: Edge, link: Link) -> None:
    try:
        await edge.attend(link)
    finally:
        await link.aclose()

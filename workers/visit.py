"""A short visit to one server of a fabric that runs: join, find it, converse with it, leave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any

from fabric.config.settings import Settings
from fabric.errors import BrokerUnavailable
from fabric.faults import Reason
from workers.client import Client, Refused
from workers.edge_role import make_edge
from workers.host import Host
from workers.inside import conversation
from workers.joining import absence, joined
from workers.patience import patience
from workers.terminal import complain

NOBODY = (Reason.NO_WORKER, Reason.UNKNOWN_SERVER)


@asynccontextmanager
async def visit(settings: Settings, server: str, host: Host | None = None, *, silent: bool = False) -> AsyncIterator[Client]:
    """A client of that server, opened; what that waits for is said, unless `silent`.

    Raises Refused, and BrokerUnavailable with the reason if nobody serves it.
    """
    async with joined(settings) as place:
        edge = make_edge(place)
        edge.core.address = "call"
        edge.node.start()
        try:
            if missing := await absence(edge, place, server):
                raise BrokerUnavailable(missing)
            async with AsyncExitStack() as stack:
                async with nullcontext() if silent else patience(server, lambda: edge.core.directory.untaken(server)):
                    client = await stack.enter_async_context(conversation(edge, server, settings.links.max_frame_bytes, host))
                yield client
        finally:
            await edge.node.aclose()


async def unless_refused(work: Coroutine[Any, Any, int]) -> int:
    """Await `work` for an exit code; a refusal of the server or the fabric is said, and has a code of its own."""
    try:
        return await work
    except Refused as refused:
        complain(f"{refused} ({refused.reason or refused.code})")
        return 3 if refused.reason in NOBODY else 1

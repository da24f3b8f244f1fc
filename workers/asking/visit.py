"""A short visit to one server of a running fabric: join, find the server, talk to it, leave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any

from fabric.config.settings.process import Settings
from fabric.errors import BrokerUnavailable
from fabric.faults import Reason
from workers.answering.host import Host
from workers.asking.client import Client, Refused
from workers.asking.conversation import conversation
from workers.asking.join import join, why_unserved
from workers.asking.patience import patience
from workers.process.edge import make_edge
from workers.screen.terminal import complain

UNSERVED = (Reason.NO_WORKER, Reason.UNKNOWN_SERVER)
"""The refusals by which nobody serves a server."""


@asynccontextmanager
async def visit(settings: Settings, server: str, host: Host | None = None, *, silent: bool = False) -> AsyncIterator[Client]:
    """An open client of that server. While the server does not answer, a line says why, unless `silent`.

    Raises Refused, and BrokerUnavailable with the reason if nobody serves it.
    """
    async with join(settings) as context:
        edge = make_edge(context)
        edge.listens_at("call")
        edge.node.start()
        try:
            if reason := await why_unserved(edge, context, server):
                raise BrokerUnavailable(reason)
            async with AsyncExitStack() as stack:
                async with nullcontext() if silent else patience(server, lambda: edge.untaken(server)):
                    client = await stack.enter_async_context(conversation(edge, server, settings.links.max_frame_bytes, host))
                yield client
        finally:
            await edge.node.aclose()


async def unless_refused(work: Coroutine[Any, Any, int]) -> int:
    """Await `work` for an exit code. A refusal by the server or the fabric is printed, and has an exit code of its own."""
    try:
        return await work
    except Refused as refused:
        complain(f"{refused} ({refused.reason or refused.code})")
        return 3 if refused.reason in UNSERVED else 1

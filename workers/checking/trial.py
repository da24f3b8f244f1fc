"""The check of `doctor` on one server: it runs as at a bridge, in a fabric of its own inside this process."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec

from fabric.config.settings.process import SecretSettings, Settings
from fabric.core.bridge.snapshot import ServerProcesses
from fabric.core.peers.announcement import Health
from fabric.errors import FabricError
from fabric.runtime.bridge import Bridge
from fabric.runtime.edge import Edge
from workers.asking.conversation import conversation
from workers.checking.finding import Finding, failed
from workers.process.bridge import make_bridge
from workers.process.context import worker_context
from workers.process.edge import make_edge

LIST_TIMEOUT = 30.0
"""Seconds a server has to list its tools."""


def limit(name: str, settings: Settings) -> float:
    """Seconds that the check of this server takes at most: its `startTimeout`, and the time to list its tools."""
    return settings.servers[name].start_timeout + LIST_TIMEOUT


async def server(name: str, settings: Settings) -> Finding:
    """Start the server as a bridge does, find its eras, count its tools, stop it."""
    check, definition = f"server {name}", settings.servers[name]
    remedy = "start it, or correct its url" if definition.url else "run its command by hand, in its folder and environment"
    if definition.container:
        remedy = f"run it by hand: {' '.join(definition.container.engine)} run --rm -i {definition.container.image}"
    last_words: Callable[[], str] = str
    try:
        async with asyncio.timeout(limit(name, settings)), _alone(name, settings) as (edge, bridge):
            last_words = partial(bridge.last_words, name)
            served = await _settled(bridge, name)
            if served.health is Health.UNHEALTHY and definition.url:
                return failed(check, FabricError(served.reason), remedy)
            if served.health is Health.UNHEALTHY:
                return Finding(check, False, served.reason, remedy)
            async with conversation(edge, name, settings.links.max_frame_bytes) as client:
                tools = await client.tools()
    except TimeoutError:
        return Finding(check, False, f"no answer within {limit(name, settings):g} s{last_words()}", remedy)
    except FabricError as error:
        return Finding(check, False, str(error), remedy)
    return Finding(check, True, f"{' and '.join(served.eras)}, {len(tools)} tools")


@asynccontextmanager
async def _alone(name: str, settings: Settings) -> AsyncIterator[tuple[Edge, Bridge]]:
    """An edge and a bridge with that server alone, and without warm processes."""
    isolated = msgspec.structs.replace(
        settings,
        servers={name: msgspec.structs.replace(settings.servers[name], warm=0)},
        fabric=msgspec.structs.replace(settings.fabric, broker=f"memory://{secrets.token_hex(8)}"),
        secret=SecretSettings(secret=secrets.token_hex(16)),
    )
    async with worker_context(isolated) as context:
        edge, bridge = make_edge(context), make_bridge(context)
        try:
            edge.node.start()
            bridge.node.start()
            yield edge, bridge
        finally:
            await edge.node.aclose()
            await bridge.aclose()


async def _settled(bridge: Bridge, name: str) -> ServerProcesses:
    """The state of the server, once its health is known."""
    while (server := bridge.servers()[name]).health in (Health.UNKNOWN, Health.CHECKING):
        await bridge.node.change()
    return server

"""`mcp-fabric up`: everything on one machine, in one process beside the broker."""

from __future__ import annotations

from fabric.config.settings import Settings
from workers.bridge_role import make_bridge
from workers.edge_role import make_edge
from workers.listeners import open_listeners
from workers.logs import configure_logging
from workers.process import Life, administered, placed
from workers.summary import Summary


async def run(settings: Settings) -> int:
    """Serve until told to stop. Returns the exit code."""
    configure_logging(settings, "info")
    life = Life()
    async with placed(settings) as place:
        edge, bridge = make_edge(place), make_bridge(place)
        nodes = [edge.node, bridge.node]
        listeners = await open_listeners(settings, edge, life, nodes, bridge.served)
        try:
            async with administered(settings, life, nodes, bridge.served) as admin:
                edge.node.start()
                bridge.node.start()
                summary = Summary(settings, edge, bridge, listeners, f"{listeners.where}{admin}")
                return await life.serve(nodes, place, summary.lines())
        finally:
            await listeners.aclose()
            await bridge.drain(settings.times.drain_timeout)
            await edge.node.aclose()
            await bridge.aclose()

"""`mcp-fabric edge`: an edge with its listeners."""

from __future__ import annotations

from fabric.config.settings import Settings
from workers.edge_role import make_edge
from workers.listeners import open_listeners
from workers.logs import configure_logging
from workers.process import Life, administered, placed, ready_line


async def run(settings: Settings) -> int:
    """Serve until told to stop. Returns the exit code."""
    configure_logging(settings, "info")
    life = Life()
    async with placed(settings) as place:
        edge = make_edge(place)
        listeners = await open_listeners(settings, edge, life, [edge.node])
        try:
            async with administered(settings, life, [edge.node]) as admin:
                edge.node.start()
                return await life.serve([edge.node], place, ready_line(f"edge {listeners.where}{admin}"))
        finally:
            await listeners.aclose()
            await edge.node.aclose()

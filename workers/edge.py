"""`mcp-fabric edge`: an edge with an HTTP door."""

from __future__ import annotations

from fabric.errors import ConfigError, LinkRefused
from fabric.runtime.settings import Settings
from workers.process import Life, administered, configure_logging, placed
from workers.roles import make_edge, open_http


async def run(settings: Settings) -> int:
    """Serve until told to stop. Returns the exit code."""
    configure_logging()
    life = Life()
    async with placed(settings) as place:
        edge = make_edge(place)
        try:
            listener = await open_http(settings, edge, life, [edge.node])
        except LinkRefused as error:
            raise ConfigError(str(error), where="http") from error
        try:
            async with administered(settings, life, [edge.node]) as admin:
                edge.node.start()
                return await life.serve([edge.node], place, f"edge {listener.address}{admin}")
        finally:
            await listener.aclose()
            await edge.node.aclose()

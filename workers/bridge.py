"""`mcp-fabric bridge`: a bridge for the servers of a config."""

from __future__ import annotations

from fabric.config.settings import Settings
from workers.bridge_role import make_bridge
from workers.logs import configure_logging
from workers.process import Life, administered, placed, ready_line


async def run(settings: Settings) -> int:
    """Serve until told to stop. Returns the exit code."""
    configure_logging(settings, "info")
    life = Life()
    async with placed(settings) as place:
        bridge = make_bridge(place)
        try:
            async with administered(settings, life, [bridge.node], bridge.served) as admin:
                bridge.node.start()
                said = ready_line(f"bridge {', '.join(settings.servers)}{admin}")
                return await life.serve([bridge.node], place, said)
        finally:
            await bridge.drain(settings.times.drain_timeout)
            await bridge.aclose()

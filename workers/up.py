"""`mcp-fabric up`: everything on one machine, in one process beside the broker."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fabric.runtime.settings import Settings
from workers.bridge import DRAIN_TIMEOUT
from workers.doors import Doors, open_doors
from workers.logs import configure_logging
from workers.process import Life, administered, placed
from workers.roles import make_bridge, make_edge


async def run(settings: Settings) -> int:
    """Serve until told to stop. Returns the exit code."""
    configure_logging(settings, "info")
    life = Life()
    async with placed(settings) as place:
        edge, bridge = make_edge(place), make_bridge(place)
        nodes = [edge.node, bridge.node]
        doors = await open_doors(settings, edge, life, nodes, bridge.core.served)
        try:
            async with administered(settings, life, nodes, bridge.core.served) as admin:
                edge.node.start()
                bridge.node.start()
                return await life.serve(nodes, place, f"{doors.where}{admin}", _hint(settings, doors))
        finally:
            await doors.aclose()
            await bridge.drain(DRAIN_TIMEOUT)
            await edge.node.aclose()
            await bridge.aclose()


def _hint(settings: Settings, doors: Doors) -> str:
    """What a person can try now."""
    names = list(settings.servers)
    lines = [f"  {doors.url}/{name}/mcp" for name in names]
    if settings.default_server:
        lines.append(f"  {doors.url}/mcp  ({settings.default_server})")
    lines += [f"  {door.address}  ({server or 'any of them'})" for door, server in doors.others]
    program = sys.argv[0] if os.sep in sys.argv[0] and not Path(sys.argv[0]).is_absolute() else "mcp-fabric"
    tries = [
        f"{program} ls",
        f"{program} call {names[-1]} TOOL key=value",
        f"{program} connect {names[-1]}   # a stdio MCP server, for any host's config",
    ]
    return "\n".join(["serving", *lines, "try, in a second terminal", *(f"  {line}" for line in tries)])

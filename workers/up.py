"""`mcp-fabric up`: everything on one machine, in one process beside the broker."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fabric.errors import ConfigError, LinkRefused
from fabric.runtime.settings import Settings
from workers.bridge import DRAIN_TIMEOUT
from workers.process import Life, administered, configure_logging, placed
from workers.roles import make_bridge, make_edge, open_http


async def run(settings: Settings) -> int:
    """Serve until told to stop. Returns the exit code."""
    configure_logging()
    life = Life()
    async with placed(settings) as place:
        edge, bridge = make_edge(place), make_bridge(place)
        try:
            listener = await open_http(settings, edge, life, [edge.node, bridge.node])
        except LinkRefused as error:
            raise ConfigError(str(error), where="http") from error
        nodes = [edge.node, bridge.node]
        try:
            async with administered(settings, life, nodes) as admin:
                edge.node.start()
                bridge.node.start()
                where = listener.address
                return await life.serve(nodes, place, f"{where}{admin}", _hint(settings, where))
        finally:
            await listener.aclose()
            await bridge.drain(DRAIN_TIMEOUT)
            await edge.node.aclose()
            await bridge.aclose()


def _hint(settings: Settings, address: str) -> str:
    """What a person can try now."""
    names = list(settings.servers)
    lines = [f"  {address}/{name}/mcp" for name in names]
    if settings.default_server:
        lines.append(f"  {address}/mcp  ({settings.default_server})")
    program = sys.argv[0] if os.sep in sys.argv[0] and not Path(sys.argv[0]).is_absolute() else "mcp-fabric"
    tries = [
        f"{program} ls",
        f"{program} call {names[-1]} TOOL key=value",
        f"{program} connect {names[-1]}   # a stdio MCP server, for any host's config",
    ]
    return "\n".join(["serving", *lines, "try, in a second terminal", *(f"  {line}" for line in tries)])

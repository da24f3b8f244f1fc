"""`mcp-fabric bridge`: a bridge for the servers of a config."""

from __future__ import annotations

from fabric.config.settings.process import Settings
from workers.process.bridge import make_bridge
from workers.process.context import worker_context
from workers.process.lifecycle import WorkerLifecycle, health_endpoints, ready_line
from workers.process.logs import configure_logging


async def run(settings: Settings) -> int:
    """Serve until a stop signal comes. Returns the exit code."""
    configure_logging(settings, "info")
    lifecycle = WorkerLifecycle()
    async with worker_context(settings) as context:
        bridge = make_bridge(context)
        try:
            async with health_endpoints(settings, lifecycle, [bridge.node], bridge.servers) as admin:
                bridge.node.start()
                lines = ready_line(f"bridge {', '.join(settings.servers)}{admin}")
                return await lifecycle.serve([bridge.node], context, lines)
        finally:
            await bridge.drain(settings.times.drain_timeout)
            await bridge.aclose()

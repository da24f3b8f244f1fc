"""`mcp-fabric edge`: an edge with its listeners."""

from __future__ import annotations

from fabric.config.settings.process import Settings
from workers.process.context import worker_context
from workers.process.edge import make_edge
from workers.process.lifecycle import WorkerLifecycle, health_endpoints, ready_line
from workers.process.logs import configure_logging
from workers.serving.listeners import open_listeners


async def run(settings: Settings) -> int:
    """Serve until a stop signal comes. Returns the exit code."""
    configure_logging(settings, "info")
    lifecycle = WorkerLifecycle()
    async with worker_context(settings) as context:
        edge = make_edge(context)
        listeners = await open_listeners(settings, edge, lifecycle, [edge.node])
        try:
            async with health_endpoints(settings, lifecycle, [edge.node]) as admin:
                edge.node.start()
                return await lifecycle.serve([edge.node], context, ready_line(f"edge {listeners.where}{admin}"))
        finally:
            await listeners.aclose()
            await edge.node.aclose()

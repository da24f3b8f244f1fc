"""`mcp-fabric up`: edge and bridge in one process, beside the broker."""

from __future__ import annotations

from fabric.config.settings.process import Settings
from workers.process.bridge import make_bridge
from workers.process.context import worker_context
from workers.process.edge import make_edge
from workers.process.lifecycle import WorkerLifecycle, health_endpoints
from workers.process.logs import configure_logging
from workers.serving.listeners import open_listeners
from workers.serving.summary import Summary


async def run(settings: Settings) -> int:
    """Serve until a stop signal comes. Returns the exit code."""
    configure_logging(settings, "info")
    lifecycle = WorkerLifecycle()
    async with worker_context(settings) as context:
        edge, bridge = make_edge(context), make_bridge(context)
        nodes = [edge.node, bridge.node]
        listeners = await open_listeners(settings, edge, lifecycle, nodes, bridge.servers)
        try:
            async with health_endpoints(settings, lifecycle, nodes, bridge.servers) as admin:
                edge.node.start()
                bridge.node.start()
                summary = Summary(settings, edge, bridge, listeners, f"{listeners.where}{admin}")
                return await lifecycle.serve(nodes, context, summary.lines())
        finally:
            await listeners.aclose()
            await bridge.drain(settings.times.drain_timeout)
            await edge.node.aclose()
            await bridge.aclose()

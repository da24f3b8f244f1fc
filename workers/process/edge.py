"""Makes an edge from settings; for `edge`, `up`, `connect`, and the commands that ask a server of the fabric."""

from __future__ import annotations

from fabric.core.peers.announcement import Role
from fabric.runtime import from_settings
from fabric.runtime.edge import Edge
from workers.process.context import WorkerContext
from workers.process.telemetry import instrumented


def make_edge(context: WorkerContext) -> Edge:
    """An edge, not yet started."""
    instruments = instrumented(context, Role.EDGE)
    edge = from_settings.make_edge(
        context.settings,
        context.url,
        context.keys,
        instruments.identity,
        completed=instruments.completed,
        dialer=instruments.dialer,
    )
    instruments.observe(edge.snapshot)
    return edge

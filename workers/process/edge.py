"""Makes an edge from settings; for `edge`, `up`, `connect`, and the commands that ask a server of the fabric."""

from __future__ import annotations

from fabric.core.edge.correlation import Limits
from fabric.runtime.edge import Edge
from fabric.security.seal import SessionSealer
from workers.process.context import WorkerContext
from workers.process.telemetry import instrumented


def make_edge(context: WorkerContext) -> Edge:
    """An edge, not yet started."""
    settings = context.settings
    instruments = instrumented(context, "edge")
    return Edge(
        context.url,
        settings.fabric.name,
        instruments.identity,
        limits=Limits(
            idle=settings.times.idle_timeout, absolute=settings.times.absolute_timeout, broker=settings.fabric.broker_wait
        ),
        servers=frozenset(settings.servers),
        retry_calls=frozenset(name for name, server in settings.servers.items() if server.retry_calls),
        sealer=SessionSealer(context.keys, settings.fabric.name),
        session_lifetime=settings.times.session_lifetime,
        completed=instruments.completed,
        dialer=instruments.dialer,
    )

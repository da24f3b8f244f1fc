"""An edge made from settings; for `edge`, `up`, `connect`, and all that converse with a server of the fabric."""

from __future__ import annotations

from fabric.core.edge.correlation import Limits
from fabric.runtime.edge import Edge
from fabric.security.seal import SessionSealer
from workers.process import Place
from workers.telemetry import observed


def make_edge(place: Place) -> Edge:
    """An edge, not yet started."""
    settings = place.settings
    told = observed(place, "edge")
    return Edge(
        place.url,
        settings.fabric.name,
        told.identity,
        limits=Limits(
            idle=settings.times.idle_timeout, absolute=settings.times.absolute_timeout, broker=settings.fabric.broker_wait
        ),
        servers=frozenset(settings.servers),
        retry_calls=frozenset(name for name, server in settings.servers.items() if server.retry_calls),
        sealer=SessionSealer(place.keys, settings.fabric.name),
        session_lifetime=settings.times.session_lifetime,
        completed=told.completed,
        dialer=told.dialer,
    )

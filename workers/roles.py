"""An edge and a bridge made from settings; what `edge`, `bridge`, `up` and `connect` put together."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fabric.core.correlation import Limits
from fabric.core.pool import ServerLimits
from fabric.links.base import Link
from fabric.links.http import HttpListener, HttpSettings, listen
from fabric.links.stdio import ServerCommand, spawn
from fabric.runtime.bridge import Bridge
from fabric.runtime.edge import Edge
from fabric.runtime.node import Node
from fabric.runtime.settings import ServerDefinition, Settings
from fabric.security.seal import SessionSealer
from workers.admin import health_pages
from workers.process import Life, Place, access_rules
from workers.telemetry import traced

log = logging.getLogger("mcp-fabric")


def make_edge(place: Place) -> Edge:
    """An edge, not yet started."""
    settings = place.settings
    identity, completed = traced(place, "edge")
    return Edge(
        place.url,
        settings.name,
        identity,
        limits=Limits(idle=settings.idle_timeout, absolute=settings.absolute_timeout),
        servers=frozenset(settings.servers),
        retry_calls=frozenset(name for name, server in settings.servers.items() if server.retry_calls),
        sealer=SessionSealer(place.keys, settings.name),
        session_lifetime=settings.session_lifetime,
        completed=completed,
    )


def make_bridge(place: Place) -> Bridge:
    """A bridge, not yet started."""
    settings = place.settings
    identity, completed = traced(place, "bridge")
    limits = {
        name: ServerLimits(server.digest, slots=server.max_in_flight, warm=server.warm, most=server.max_processes)
        for name, server in settings.servers.items()
    }

    async def connect(server: str, id: str) -> Link:
        return await start_server(settings.servers[server], id, settings.max_frame_bytes)

    return Bridge(place.url, settings.name, identity, servers=limits, connect=connect, completed=completed)


async def start_server(server: ServerDefinition, id: str, max_frame_bytes: int) -> Link:
    """Start a server's process. Raises LinkRefused."""
    command = ServerCommand(server.command, server.args, server.cwd, dict(server.env), server.grace)
    return await spawn(
        command,
        id=id,
        inherited={},  # the definition holds all of it
        on_stderr=lambda line: log.info("[%s] %s", id, line),
        on_noise=lambda line: log.warning("[%s] not a JSON-RPC message on stdout, skipped: %r", id, line[:200]),
        max_frame_bytes=max_frame_bytes,
    )


async def open_http(settings: Settings, edge: Edge, life: Life, nodes: Sequence[Node]) -> HttpListener:
    """The edge's HTTP door. Raises LinkRefused when the address cannot be had."""

    def resolve(name: str) -> str | None:
        if not name:
            return settings.default_server or _only(edge.core.serving.names())
        return name if edge.core.serving.known(name) else None

    listener = await listen(
        edge,
        HttpSettings(
            resolve=resolve,
            host=settings.http.host,
            port=settings.http.port,
            access=access_rules(settings),
            pages=health_pages(lambda: life.readiness(nodes)),
            max_body_bytes=settings.max_frame_bytes,
        ),
    )
    edge.core.address = listener.address
    return listener


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None

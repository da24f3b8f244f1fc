"""Makes an edge from the settings of a process.

Above it: workers/process and fabric/client. Below it: the edge, the settings, and the keys of the fabric's secret.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.config.settings.process import Settings
from fabric.core.edge.correlation import Limits
from fabric.core.peers.member import Identity
from fabric.core.telemetry_record import Record
from fabric.runtime.edge import Edge
from fabric.runtime.retry import Dialer
from fabric.security.seal import SessionSealer
from fabric.security.secret import Keyring


def make_edge(
    settings: Settings, url: str, keys: Keyring, identity: Identity, *, completed: Callable[[Record], None], dialer: Dialer
) -> Edge:
    """An edge at the broker `url`, not yet started. completed: called with the record of each request that is completed."""
    return Edge(
        url,
        settings.fabric.name,
        identity,
        limits=Limits(
            idle=settings.times.idle_timeout, absolute=settings.times.absolute_timeout, broker=settings.fabric.broker_wait
        ),
        servers=frozenset(settings.servers),
        retry_calls=frozenset(name for name, server in settings.servers.items() if server.retry_calls),
        sealer=SessionSealer(keys, settings.fabric.name),
        session_lifetime=settings.times.session_lifetime,
        completed=completed,
        dialer=dialer,
    )

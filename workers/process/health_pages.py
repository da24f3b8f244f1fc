"""The health endpoints on --admin: /livez shows that the process lives, /readyz whether it can serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fabric.config.settings.process import Address
from fabric.core.bridge.snapshot import ServerProcesses
from fabric.errors import ConfigError, LinkRefused
from fabric.links.http.listener import HttpListener, listen
from fabric.links.http.settings import HttpSettings, Page
from fabric.security.access import AccessRules

Readiness = Callable[[], tuple[bool, Mapping[str, Any]]]
"""Returns whether the process is ready, and a description: `status` (starting, ready, degraded, draining) and perhaps a reason.

A process with a lost broker, or with an unhealthy server, is `degraded` and still ready: restarting it would not help.
"""

Servers = Callable[[], Mapping[str, ServerProcesses]]
"""Returns the present state of the servers that a process runs, by name."""


def health_pages(readiness: Readiness, servers: Servers | None = None) -> dict[str, Page]:
    """The pages of both endpoints: /livez is always 200, /readyz 200 or 503, each with a JSON object.

    servers: shown with their health and its reason; None on a listener that strangers can reach.
    """

    def page(description: Mapping[str, Any]) -> bytes:
        states = servers() if servers is not None else {}
        shown = {name: {"health": server.health, "reason": server.reason} for name, server in states.items()}
        return msgspec.json.encode({**description, "servers": shown} if shown else description)

    def livez() -> tuple[int, bytes, str]:
        return 200, page({"status": "live"}), "application/json"

    def readyz() -> tuple[int, bytes, str]:
        ready, description = readiness()
        return 200 if ready else 503, page(description), "application/json"

    return {"/livez": livez, "/readyz": readyz}


async def serve_admin(
    address: Address, readiness: Readiness, servers: Servers | None = None, *, access: AccessRules
) -> HttpListener:
    """Listen for probes. Raises ConfigError if the address is not free."""
    settings = HttpSettings(
        resolve=lambda _: None, host=address.host, port=address.port, access=access, pages=health_pages(readiness, servers)
    )
    try:
        return await listen(None, settings)
    except LinkRefused as error:
        raise ConfigError(str(error), where="admin") from error

"""From a URI's scheme to the transport that reaches an MCP server there, imported when first needed.

A new one is one module with a `connect` (see base.Connect) and its CAPABILITIES by scheme, and one line here.
"""

from __future__ import annotations

from importlib import import_module

from fabric.capabilities import Capabilities
from fabric.errors import ConfigError
from fabric.links.base import Connect, Link
from fabric.links.settings import ConnectSettings

CONNECTORS = {
    "tcp": "fabric.links.sockets.tcp",
    "tls": "fabric.links.sockets.tcp",
    "unix": "fabric.links.sockets.unix",
    "ws": "fabric.links.websocket.client",
    "wss": "fabric.links.websocket.client",
    "http": "fabric.links.http_client.link",
    "https": "fabric.links.http_client.link",
    "sse+http": "fabric.links.http_client.link",
    "sse+https": "fabric.links.http_client.link",
}
"""The module of each URL scheme."""


async def connect(url: str, settings: ConnectSettings, *, id: str) -> Link:
    """Open a conversation with the MCP server at `url`. Raises as base.Connect does; ConfigError for a scheme nobody speaks."""
    scheme, separator, _ = url.partition("://")
    module = CONNECTORS.get(scheme.lower()) if separator else None
    if module is None:
        known = ", ".join(f"{name}://" for name in CONNECTORS)
        raise ConfigError(f"no link speaks {scheme}://; known are {known}" if separator else f"is no URL; known are {known}")
    opened: Connect = import_module(module).connect
    return await opened(url, settings, id=id)


def capabilities() -> dict[str, Capabilities]:
    """What the transport of each scheme can do; stdio, which has a command for a URL, is the first."""
    modules = {"stdio": "fabric.links.stdio.server", **CONNECTORS}
    return {scheme: import_module(module).CAPABILITIES[scheme] for scheme, module in modules.items()}

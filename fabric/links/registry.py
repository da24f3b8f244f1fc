"""From a URI's scheme to the transport that reaches an MCP server there, imported when first needed.

A new one is one module with a `connect` (see base.Connect) and its CAPABILITIES by scheme, and one line here.
"""

from __future__ import annotations

from importlib import import_module

from fabric.capabilities import Capabilities
from fabric.errors import ConfigError
from fabric.links.base import Connect, ConnectSettings, Link

TRANSPORTS = {
    "tcp": "fabric.links.tcp",
    "tls": "fabric.links.tcp",
    "unix": "fabric.links.unix",
    "ws": "fabric.links.websocket",
    "wss": "fabric.links.websocket",
    "http": "fabric.links.http_upstream",
    "https": "fabric.links.http_upstream",
    "sse+http": "fabric.links.http_upstream",
    "sse+https": "fabric.links.http_upstream",
}
"""The module of each URL scheme."""


async def connect(url: str, settings: ConnectSettings, *, id: str) -> Link:
    """Open a conversation with the MCP server at `url`. Raises as base.Connect does; ConfigError for a scheme nobody speaks."""
    scheme, separator, _ = url.partition("://")
    module = TRANSPORTS.get(scheme.lower()) if separator else None
    if module is None:
        known = ", ".join(f"{name}://" for name in TRANSPORTS)
        raise ConfigError(f"no link speaks {scheme}://; known are {known}" if separator else f"is no URL; known are {known}")
    opened: Connect = import_module(module).connect
    return await opened(url, settings, id=id)


def capabilities() -> dict[str, Capabilities]:
    """What the transport of each scheme can do; stdio, which has a command for a URL, is the first."""
    modules = {"stdio": "fabric.links.stdio", **TRANSPORTS}
    return {scheme: import_module(module).CAPABILITIES[scheme] for scheme, module in modules.items()}

"""The transports there are: which module connects to an MCP server by a URL's scheme, and which listens for clients.

A new transport is one module, imported when it is first needed, and one line here: in CONNECTORS, in LISTENERS or in both.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Literal, NamedTuple

from fabric.errors import ConfigError

if TYPE_CHECKING:  # the command line reads the tables, and `--help` shall not wait for the rest
    from fabric.capabilities import Capabilities
    from fabric.links.base import Connect, Link, LinkHandler, Listen, Listener
    from fabric.links.settings import ConnectSettings, ListenerOptions

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
"""By URL scheme, the module with `connect` (see base.Connect), and CAPABILITIES by scheme."""


class ListenerKind(NamedTuple):
    """A kind of listener for long links.

    Its key in LISTENERS is a key of the configuration's `fabric` section, and an option of the commands `up` and `edge`.
    """

    module: str
    """The module with `listen_for` (see base.Listen)."""
    key_help: str
    """What the configuration's schema says of it."""
    option_help: str
    """What the command's help says of it."""
    place: Literal["HOST:PORT", "PATH"] = "HOST:PORT"
    """Where it listens."""
    http: bool = False
    """Its clients begin with an HTTP request: they can name a server themselves, and be authenticated. Those of the other kinds
    reach one server, are not asked who they are, and may end their input and still read answers."""


LISTENERS = {
    "tcp": ListenerKind(
        "fabric.links.sockets.tcp",
        "HOST:PORT=SERVER or PORT=SERVER of each TCP listener: newline-delimited JSON-RPC with that server, or the default "
        "one.",
        "Also serve SERVER, or the default one, over TCP, a message a line.",
    ),
    "unix": ListenerKind(
        "fabric.links.sockets.unix",
        "PATH=SERVER of each Unix socket, likewise; a path is relative to the folder of this file.",
        "Also serve SERVER, or the default one, on a Unix socket.",
        place="PATH",
    ),
    "ws": ListenerKind(
        "fabric.links.http.websockets",
        "[HOST:]PORT or [HOST:]PORT=SERVER of each listener of its own for WebSockets, which the HTTP edge accepts too.",
        "Also serve WebSockets on a port of their own: SERVER at /, or each at /NAME/ws.",
        http=True,
    ),
}


async def connect(url: str, settings: ConnectSettings, *, id: str) -> Link:
    """Open a long link to the MCP server at `url`. Raises as base.Connect does; ConfigError for a scheme that is not known."""
    scheme, separator, _ = url.partition("://")
    module = CONNECTORS.get(scheme.lower()) if separator else None
    if module is None:
        known = ", ".join(f"{name}://" for name in CONNECTORS)
        raise ConfigError(f"no link speaks {scheme}://; known are {known}" if separator else f"is no URL; known are {known}")
    opened: Connect = import_module(module).connect
    return await opened(url, settings, id=id)


async def listen(kind: str, handler: LinkHandler, options: ListenerOptions) -> Listener:
    """Open a listener of this kind. Raises as base.Listen does."""
    listen_for: Listen = import_module(LISTENERS[kind].module).listen_for
    return await listen_for(handler, options)


def capabilities() -> dict[str, Capabilities]:
    """What the transport of each scheme can do; stdio, which has a command for a URL, is the first."""
    modules = {"stdio": "fabric.links.stdio.server", **CONNECTORS}
    return {scheme: import_module(module).CAPABILITIES[scheme] for scheme, module in modules.items()}

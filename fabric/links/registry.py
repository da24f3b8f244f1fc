"""The registry of transports: which module connects to an MCP server, by its URL's scheme, and which listens for clients.

A new transport is one module, imported when it is first needed, and one line here: in CONNECTORS, in LISTENERS or in both. The
bridge at run time, the workers and the configuration's schema use it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Literal, NamedTuple

from fabric.errors import ConfigError

if TYPE_CHECKING:  # the command line reads the tables, and `--help` should not wait for the other imports
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
"""By URL scheme, the module that has `connect` (see base.Connect) and its CAPABILITIES by scheme."""


class ListenerKind(NamedTuple):
    """A kind of listener for long links.

    Its key in LISTENERS is a key of the configuration's `fabric` section, and an option of the commands `up` and `edge`.
    """

    module: str
    """The module that has `listen_for` (see base.Listen)."""
    key_help: str
    """The description of its key in the configuration's schema."""
    option_help: str
    """The help text of its command option."""
    place: Literal["HOST:PORT", "PATH"] = "HOST:PORT"
    """The form of the address that it listens on."""
    http: bool = False
    """Whether its clients begin with an HTTP request: then they can name a server and be authenticated. Clients of the other
    kinds reach one server, are not authenticated, and may end their input and still read answers."""


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
    """Open a long link to the MCP server at `url`. Raises as base.Connect does, and ConfigError for an unknown scheme."""
    scheme, separator, _ = url.partition("://")
    module = CONNECTORS.get(scheme.lower()) if separator else None
    if module is None:
        known = ", ".join(f"{name}://" for name in CONNECTORS)
        problem = f"no transport has the scheme {scheme}://" if separator else "is no URL"
        raise ConfigError(f"{problem}; known are {known}")
    opened: Connect = import_module(module).connect
    return await opened(url, settings, id=id)


async def listen(kind: str, handler: LinkHandler, options: ListenerOptions) -> Listener:
    """Open a listener of this kind. Raises as base.Listen does."""
    listen_for: Listen = import_module(LISTENERS[kind].module).listen_for
    return await listen_for(handler, options)


def capabilities() -> dict[str, Capabilities]:
    """The capabilities of each scheme's transport; stdio, which has a command instead of a URL, comes first."""
    modules = {"stdio": "fabric.links.stdio.server", **CONNECTORS}
    return {scheme: import_module(module).CAPABILITIES[scheme] for scheme, module in modules.items()}

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
    from fabric.links.url import Form, LinkUrl

_TCP, _UNIX, _WEBSOCKET, _HTTP = (
    f"fabric.links.{name}" for name in ("sockets.tcp", "sockets.unix", "websocket.client", "http_client.link")
)


class ConnectorKind(NamedTuple):
    """The servers whose URLs have one scheme."""

    module: str
    """The module that has `connect` (see base.Connect) and its CAPABILITIES by scheme."""
    transport: str
    """The transport of its links, as in LinkInfo."""
    form: Form = "URL"
    """What follows the scheme; see url.py."""
    headers: bool = True
    """Whether requests carry headers."""
    tls: bool = False
    """Whether the connection is encrypted, so that a certificate is checked."""
    network: str = "tcp"
    """OpenTelemetry's network.transport."""
    protocol: str = ""
    """OpenTelemetry's network.protocol.name, empty for none."""


CONNECTORS = {
    "tcp": ConnectorKind(_TCP, "tcp", "HOST:PORT", headers=False),
    "tls": ConnectorKind(_TCP, "tls", "HOST:PORT", headers=False, tls=True),
    "unix": ConnectorKind(_UNIX, "unix", "PATH", headers=False, network="unix"),
    "ws": ConnectorKind(_WEBSOCKET, "websocket", protocol="websocket"),
    "wss": ConnectorKind(_WEBSOCKET, "websocket", tls=True, protocol="websocket"),
    "http": ConnectorKind(_HTTP, "http", protocol="http"),
    "https": ConnectorKind(_HTTP, "http", tls=True, protocol="http"),
    "sse+http": ConnectorKind(_HTTP, "http", protocol="http"),
    "sse+https": ConnectorKind(_HTTP, "http", tls=True, protocol="http"),
}
"""The kind of connector of each URL scheme."""


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
    network: str = "tcp"
    """OpenTelemetry's network.transport."""
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
        network="unix",
    ),
    "ws": ListenerKind(
        "fabric.links.http.websockets",
        "[HOST:]PORT or [HOST:]PORT=SERVER of each listener of its own for WebSockets, which the HTTP edge accepts too.",
        "Also serve WebSockets on a port of their own: SERVER at /, or each at /NAME/ws.",
        http=True,
    ),
}


def parse_url(url: str) -> LinkUrl:
    """The parts of a server's URL, whose scheme is one of CONNECTORS. Raises ConfigError, which never quotes it."""
    from fabric.links.url import parse

    return parse(url, CONNECTORS[url.partition("://")[0].lower()].form)


def schemes(*, tls: bool = False) -> str:
    """The schemes of servers' URLs, for people. tls: only those that are encrypted."""
    return ", ".join(f"{scheme}://" for scheme, kind in CONNECTORS.items() if kind.tls or not tls)


def networks() -> dict[str, tuple[str, str]]:
    """OpenTelemetry's network.transport and network.protocol.name of each transport, as in LinkInfo."""
    accepted = {key: (kind.network, "") for key, kind in LISTENERS.items()}
    connected = {kind.transport: (kind.network, kind.protocol) for kind in CONNECTORS.values()}
    return {"stdio": ("pipe", ""), "docker": ("pipe", ""), **accepted, **connected}


async def connect(url: str, settings: ConnectSettings, *, id: str) -> Link:
    """Open a long link to the MCP server at `url`. Raises as base.Connect does, and ConfigError for an unknown scheme."""
    scheme, separator, _ = url.partition("://")
    kind = CONNECTORS.get(scheme.lower()) if separator else None
    if kind is None:
        problem = f"no transport has the scheme {scheme}://" if separator else "is no URL"
        raise ConfigError(f"{problem}; known are {schemes()}")
    opened: Connect = import_module(kind.module).connect
    return await opened(url, settings, id=id)


async def listen(kind: str, handler: LinkHandler, options: ListenerOptions) -> Listener:
    """Open a listener of this kind. Raises as base.Listen does."""
    listen_for: Listen = import_module(LISTENERS[kind].module).listen_for
    return await listen_for(handler, options)


def capabilities() -> dict[str, Capabilities]:
    """The capabilities of each scheme's transport; those of processes come first: stdio, with a command, and docker."""
    processes = {"stdio": "fabric.links.stdio.server", "docker": "fabric.links.stdio.container"}
    modules = {**processes, **{scheme: kind.module for scheme, kind in CONNECTORS.items()}}
    return {scheme: import_module(module).CAPABILITIES[scheme] for scheme, module in modules.items()}

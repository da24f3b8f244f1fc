"""Opens and closes the listeners of an edge: HTTP, and the others that the settings name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import msgspec

from fabric.config.settings.process import ListenerSettings, Settings
from fabric.errors import ConfigError, LinkRefused
from fabric.links.base import Listener
from fabric.links.http.listener import HttpListener, listen
from fabric.links.http.settings import http_settings
from fabric.links.registry import LISTENERS
from fabric.links.registry import listen as listen_for
from fabric.links.settings import LinkLimits, ListenerOptions
from fabric.runtime.edge import Edge
from fabric.runtime.node import Node
from fabric.security.forwarded import Proxies
from workers.process.access import access_rules
from workers.process.health_pages import Servers, health_pages
from workers.process.lifecycle import WorkerLifecycle


class Listeners:
    """The open listeners of one edge."""

    def __init__(self, settings: Settings, http: HttpListener) -> None:
        self.http = http
        """The HTTP listener, which is always open."""
        self.others: list[tuple[Listener, str]] = []
        """Listeners besides HTTP, each with the server that it leads to; empty: clients name one."""
        public = settings.listen.public_url
        self.url = public or http.address
        """Where clients reach the edge over HTTP."""
        self._first = f"{public}, by {http.address}" if public else http.address

    @property
    def where(self) -> str:
        """The addresses for the ready line, the public URL first if there is one."""
        others = (f"{listener.address}={server}" if server else listener.address for listener, server in self.others)
        return " ".join([self._first, *others])

    async def aclose(self) -> None:
        """Accept no more clients, and give open requests a little time to be answered."""
        await asyncio.gather(self.http.aclose(), *(listener.aclose() for listener, _ in self.others))


async def open_listeners(
    settings: Settings, edge: Edge, lifecycle: WorkerLifecycle, nodes: Sequence[Node], servers: Servers = dict
) -> Listeners:
    """Open all listeners of the settings. Raises ConfigError if one cannot open; then none stays open."""
    options = _options(settings, edge)
    http = msgspec.structs.replace(http_settings(options), pages=health_pages(lambda: lifecycle.readiness(nodes, servers)))
    lingers = {True: http.close_timeout, False: settings.links.half_closed_timeout}
    try:
        websocket_handler = partial(edge.attend, linger=http.close_timeout)
        listeners = Listeners(settings, await listen(edge, http, websocket_handler))
    except LinkRefused as error:
        raise ConfigError(str(error), where="http") from error
    edge.listens_at(listeners.url)
    try:
        for other in settings.listen.others:
            handler = partial(edge.attend, linger=lingers[LISTENERS[other.scheme].http])
            listeners.others.append((await listen_for(other.scheme, handler, _at(other, options)), other.server))
    except LinkRefused as error:
        await listeners.aclose()
        raise ConfigError(str(error), where=other.scheme) from error
    return listeners


def _options(settings: Settings, edge: Edge) -> ListenerOptions:
    """The options that all listeners share, and the address of HTTP."""

    def resolve(name: str) -> str | None:
        if not name:
            return settings.default_server or _only(edge.names())
        return name if edge.known(name) else None

    return ListenerOptions(
        resolve=resolve,
        names=edge.names,
        host=settings.listen.http.host,
        port=settings.listen.http.port,
        mode=settings.listen.unix_mode,
        remove=settings.listen.unix_remove,
        limits=LinkLimits(max_frame_bytes=settings.links.max_frame_bytes, stall_timeout=settings.links.stall_timeout),
        keep_alive=settings.links.keep_alive,
        compression=settings.links.ws_compression,
        access=access_rules(settings),
        authenticator=settings.access.authenticator,
        proxies=Proxies(settings.access.trusted_proxies),
        path_prefix=settings.listen.path_prefix,
    )


def _at(listener: ListenerSettings, options: ListenerOptions) -> ListenerOptions:
    """The options of one of the other listeners."""
    options = msgspec.structs.replace(options, server=listener.server)
    if listener.path is not None:
        return msgspec.structs.replace(options, path=listener.path)
    assert listener.address is not None  # noqa: S101 (a listener has a path or an address)
    return msgspec.structs.replace(options, host=listener.address.host, port=listener.address.port)


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None

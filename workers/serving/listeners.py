"""The listeners of an edge, HTTP and those of the settings: opened together, closed together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import msgspec

from fabric.config.settings.process import ListenerSettings, Settings
from fabric.errors import ConfigError, LinkRefused
from fabric.links.base import Listener
from fabric.links.http import websockets
from fabric.links.http.listener import HttpListener, listen
from fabric.links.http.settings import HttpSettings
from fabric.links.settings import LinkLimits
from fabric.links.sockets import tcp, unix
from fabric.links.websocket.connection import WebSocketSettings
from fabric.runtime.edge import Edge
from fabric.runtime.node import Node
from fabric.security.forwarded import Proxies
from workers.process.access import access_rules
from workers.process.health_pages import ServerStates, health_pages
from workers.process.lifecycle import WorkerLifecycle


class Listeners:
    """Open listeners."""

    def __init__(self, settings: Settings, http: HttpListener) -> None:
        self.http = http
        self.others: list[tuple[Listener, str]] = []
        """Listeners besides HTTP, each with the server that it leads to; empty: clients name one."""
        self.url = settings.listen.public_url or http.address
        self._first = f"{settings.listen.public_url}, by {http.address}" if settings.listen.public_url else http.address

    @property
    def where(self) -> str:
        """The addresses for the ready line, the public URL first if there is one."""
        return " ".join(
            [self._first, *(f"{listener.address}={server}" if server else listener.address for listener, server in self.others)]
        )

    async def aclose(self) -> None:
        """Accept no more; open requests have a little time to be answered."""
        await asyncio.gather(self.http.aclose(), *(listener.aclose() for listener, _ in self.others))


async def open_listeners(
    settings: Settings, edge: Edge, lifecycle: WorkerLifecycle, nodes: Sequence[Node], servers: ServerStates = dict
) -> Listeners:
    """Open all listeners of the settings. Raises ConfigError if one cannot open; then none stays open."""

    def resolve(name: str) -> str | None:
        if not name:
            return settings.default_server or _only(edge.core.directory.names())
        return name if edge.core.directory.known(name) else None

    http = HttpSettings(
        resolve=resolve,
        names=edge.core.directory.names,
        host=settings.listen.http.host,
        port=settings.listen.http.port,
        path_prefix=settings.listen.path_prefix,
        access=access_rules(settings),
        authenticator=settings.access.authenticator,
        proxies=Proxies(settings.access.trusted_proxies),
        pages=health_pages(lambda: lifecycle.readiness(nodes, servers)),
        max_body_bytes=settings.links.max_frame_bytes,
        keep_alive_timeout=settings.links.keep_alive,
        stall_timeout=settings.links.stall_timeout,
        websocket=WebSocketSettings(
            ping_interval=settings.links.keep_alive,
            ping_timeout=settings.links.keep_alive,
            compression=settings.links.ws_compression,
        ),
    )
    try:
        websocket_handler = partial(edge.attend, linger=http.close_timeout)
        listeners = Listeners(settings, await listen(edge, http, websocket_handler=websocket_handler))
    except LinkRefused as error:
        raise ConfigError(str(error), where="http") from error
    edge.core.address = listeners.url
    try:
        for listener in settings.listen.others:
            listeners.others.append((await _open(listener, settings, edge, http), listener.server))
    except LinkRefused as error:
        await listeners.aclose()
        raise ConfigError(str(error), where=listener.scheme) from error
    return listeners


async def _open(listener: ListenerSettings, settings: Settings, edge: Edge, http: HttpSettings) -> Listener:
    attend = partial(edge.attend, linger=settings.links.half_closed_timeout)
    limits = LinkLimits(max_frame_bytes=settings.links.max_frame_bytes, stall_timeout=settings.links.stall_timeout)
    server, path, address = listener.server, listener.path, listener.address
    if path is not None:
        mode, remove = settings.listen.unix_mode, settings.listen.unix_remove
        return await unix.listen(attend, unix.UnixSettings(server=server, path=path, mode=mode, remove=remove, limits=limits))
    assert address is not None  # noqa: S101 (only a Unix socket has a path)
    if listener.scheme == "tcp":
        return await tcp.listen(attend, tcp.TcpSettings(server=server, host=address.host, port=address.port, limits=limits))

    def only(name: str) -> str | None:
        return server if name in ("", server) else None

    resolve, names = (only, lambda: [server]) if server else (http.resolve, http.names)
    alike = msgspec.structs.replace(http, resolve=resolve, names=names, host=address.host, port=address.port, pages={})
    return await websockets.listen(partial(edge.attend, linger=http.close_timeout), alike)


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None

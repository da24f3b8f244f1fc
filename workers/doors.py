"""The doors of an edge: HTTP, and the sockets that were asked for; opened together, closed together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import msgspec

from fabric.config.settings import ListenerSettings, Settings
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
from workers.admin import Servers, health_pages
from workers.process import Life, access_rules


class Doors:
    """Open doors. http: the one there always is; others: with the server each leads to, empty for any."""

    def __init__(self, settings: Settings, http: HttpListener) -> None:
        self.http = http
        self.others: list[tuple[Listener, str]] = []
        self.url = settings.listen.public_url or http.address
        self._first = f"{settings.listen.public_url}, by {http.address}" if settings.listen.public_url else http.address

    @property
    def where(self) -> str:
        """For the ready line: the public URL first, if there is one."""
        return " ".join(
            [self._first, *(f"{door.address}={server}" if server else door.address for door, server in self.others)]
        )

    async def aclose(self) -> None:
        """Stop accepting; what was asked has a little time to be answered."""
        await asyncio.gather(self.http.aclose(), *(door.aclose() for door, _ in self.others))


async def open_doors(settings: Settings, edge: Edge, life: Life, nodes: Sequence[Node], servers: Servers = dict) -> Doors:
    """All that the settings ask for. Raises ConfigError when an address cannot be had; none is open then."""

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
        pages=health_pages(lambda: life.readiness(nodes, servers)),
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
        doors = Doors(settings, await listen(edge, http, websocket_handler=partial(edge.attend, linger=http.close_timeout)))
    except LinkRefused as error:
        raise ConfigError(str(error), where="http") from error
    edge.core.address = doors.url
    try:
        for door in settings.listen.others:
            doors.others.append((await _open(door, settings, edge, http), door.server))
    except LinkRefused as error:
        await doors.aclose()
        raise ConfigError(str(error), where=door.scheme) from error
    return doors


async def _open(door: ListenerSettings, settings: Settings, edge: Edge, http: HttpSettings) -> Listener:
    attend = partial(edge.attend, linger=settings.links.half_closed_timeout)
    limits = LinkLimits(max_frame_bytes=settings.links.max_frame_bytes, stall_timeout=settings.links.stall_timeout)
    server, path, address = door.server, door.path, door.address
    if path is not None:
        mode, remove = settings.listen.unix_mode, settings.listen.unix_remove
        return await unix.listen(attend, unix.UnixSettings(server=server, path=path, mode=mode, remove=remove, limits=limits))
    assert address is not None  # noqa: S101 (only a Unix socket has a path)
    if door.scheme == "tcp":
        return await tcp.listen(attend, tcp.TcpSettings(server=server, host=address.host, port=address.port, limits=limits))

    def only(name: str) -> str | None:
        return server if name in ("", server) else None

    resolve, names = (only, lambda: [server]) if server else (http.resolve, http.names)
    alike = msgspec.structs.replace(http, resolve=resolve, names=names, host=address.host, port=address.port, pages={})
    return await websockets.listen(partial(edge.attend, linger=http.close_timeout), alike)


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None

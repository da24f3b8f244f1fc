"""Newline-delimited JSON-RPC over a Unix domain socket, client and listener: `unix:///path/to/socket`."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from fabric.capabilities import Capabilities
from fabric.links.base import Link, LinkHandler, LinkInfo
from fabric.links.connect_errors import mapped_connect_errors
from fabric.links.mending import Mender
from fabric.links.settings import ConnectSettings, LinkLimits, ListenerOptions
from fabric.links.sockets.binding import bind_unix
from fabric.links.sockets.stream_socket import SocketConnection, SocketListener
from fabric.links.url import parse

CAPABILITIES = {"unix": Capabilities()}

_FULL_PAUSE = 0.05  # seconds: a socket with a full queue refuses at once, and nothing signals when it has room


class UnixSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how to listen."""

    server: str
    """The MCP server that clients reach here."""
    path: Path
    """The socket's file."""
    mode: int = 0o600
    """The mode of the socket's file: who may connect."""
    remove: bool = True
    """Whether the file is removed when the listener closes."""
    limits: LinkLimits = LinkLimits()
    """The limits of each link."""
    close_timeout: float = 5.0
    """Seconds in which open requests may still be answered when the listener closes."""


async def listen_for(handler: LinkHandler, options: ListenerOptions) -> SocketListener:
    """See links/base.Listen."""
    server, path, mode, remove = options.server, options.path, options.mode, options.remove
    return await listen(handler, UnixSettings(server=server, path=path, mode=mode, remove=remove, limits=options.limits))


async def listen(handler: LinkHandler, settings: UnixSettings) -> SocketListener:
    """Listen; `handler` serves each link. Raises LinkRefused. bind_unix says which file is replaced."""
    file = await bind_unix(settings.path, settings.mode)
    listener = SocketListener(
        handler,
        transport="unix",
        address=f"unix://{settings.path.absolute()}",
        server=settings.server,
        limits=settings.limits,
        close_timeout=settings.close_timeout,
        release=file.remove if settings.remove else lambda: None,
    )
    kept: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}  # or it would remove any file there
    loop = asyncio.get_running_loop()
    listener.attach(await loop.create_unix_server(listener.connection, sock=file.sock, backlog=2048, **kept))
    return listener


async def connect(url: str, settings: ConnectSettings, *, id: str) -> Link:
    """See links/base.Connect."""
    target = parse(url, "PATH")
    limits = LinkLimits(max_frame_bytes=settings.max_frame_bytes, stall_timeout=settings.stall_timeout)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        async with mapped_connect_errors(target.where, settings.timeout):
            await _join(sock, target.path)
        _, connection = await asyncio.get_running_loop().create_unix_connection(
            lambda: SocketConnection(half_close=True, limits=limits), sock=sock
        )
    except BaseException:
        sock.close()
        raise
    return connection.link(LinkInfo(id=id, transport="unix", peer=target.where), Mender(target.where, settings.max_frame_bytes))


async def _join(sock: socket.socket, path: str) -> None:
    """Connect the socket. asyncio cannot: it takes the error of a full queue for a connection under way."""
    while True:
        try:
            sock.connect(path)
        except BlockingIOError:
            await asyncio.sleep(_FULL_PAUSE)
        else:
            return

"""Newline-delimited JSON-RPC over TCP and TLS, client and listener: `tcp://host:port` and `tls://host:port`."""

from __future__ import annotations

import asyncio
import socket
import sys

import msgspec

from fabric.capabilities import Capabilities
from fabric.links.base import Link, LinkHandler, LinkInfo
from fabric.links.connect_errors import mapped_connect_errors
from fabric.links.mending import Mender
from fabric.links.settings import ConnectSettings, LinkLimits, ListenerOptions
from fabric.links.sockets.binding import bind_tcp
from fabric.links.sockets.stream_socket import SocketConnection, SocketListener
from fabric.links.url import LinkUrl, parse
from fabric.security.tls import Certified, client_context, server_context

CAPABILITIES = {"tcp": Capabilities(), "tls": Capabilities(encryption=True)}


class TcpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of each socket."""

    no_delay: bool = True
    """Send small writes at once."""
    keep_alive: float = 60.0
    """Seconds until a connection to a vanished peer is closed; 0: never."""


class TcpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how to listen. Times are seconds."""

    server: str
    """The MCP server that clients reach here."""
    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = 0
    """0 picks a free one."""
    certified: Certified | None = None
    """The certificate for TLS; None: no TLS."""
    options: TcpOptions = TcpOptions()
    """The options of each accepted socket."""
    limits: LinkLimits = LinkLimits()
    """The limits of each link."""
    handshake_timeout: float = 10.0
    """How long a client's TLS handshake may take."""
    close_timeout: float = 5.0
    """How long open requests may still be answered when the listener closes."""


async def listen_for(handler: LinkHandler, options: ListenerOptions) -> SocketListener:
    """See links/base.Listen."""
    return await listen(
        handler, TcpSettings(server=options.server, host=options.host, port=options.port, limits=options.limits)
    )


async def listen(handler: LinkHandler, settings: TcpSettings) -> SocketListener:
    """Listen; `handler` serves each link. Raises LinkRefused for the address, ConfigError for the certificate."""
    context = server_context(settings.certified) if settings.certified else None
    sock = await bind_tcp(settings.host, settings.port)
    host, port = sock.getsockname()[:2]
    scheme = "tls" if context else "tcp"

    listener = SocketListener(
        handler,
        transport=scheme,
        address=LinkUrl(scheme=scheme, host=host, port=port).where,
        server=settings.server,
        limits=settings.limits,
        close_timeout=settings.close_timeout,
        prepare=lambda accepted: _tune(accepted, settings.options),
    )
    listener.attach(
        await asyncio.get_running_loop().create_server(
            listener.connection,
            sock=sock,
            backlog=2048,
            ssl=context,
            ssl_handshake_timeout=settings.handshake_timeout if context else None,
            ssl_shutdown_timeout=_TLS_END_TIMEOUT if context else None,
        )
    )
    return listener


async def connect(url: str, settings: ConnectSettings, *, id: str, options: TcpOptions | None = None) -> Link:
    """See links/base.Connect. With TLS, the handshake names the server (SNI), and its certificate has to have that name."""
    target = parse(url, "HOST:PORT")
    context = client_context(settings.trust) if target.scheme == "tls" else None
    limits = LinkLimits(max_frame_bytes=settings.max_frame_bytes, stall_timeout=settings.stall_timeout)
    async with mapped_connect_errors(target.where, settings.timeout):
        transport, connection = await asyncio.get_running_loop().create_connection(
            lambda: SocketConnection(half_close=context is None, limits=limits),
            target.host,
            target.port,
            ssl=context,
            ssl_handshake_timeout=settings.timeout if context else None,
            ssl_shutdown_timeout=_TLS_END_TIMEOUT if context else None,
        )
    _tune(transport, options or TcpOptions())
    return connection.link(
        LinkInfo(id=id, transport=target.scheme, peer=target.where), Mender(target.where, settings.max_frame_bytes)
    )


_TLS_END_TIMEOUT = 5.0
_PROBES = 3
if sys.platform == "darwin":
    _IDLE = socket.TCP_KEEPALIVE
else:
    _IDLE = socket.TCP_KEEPIDLE


def _tune(transport: asyncio.BaseTransport, options: TcpOptions) -> None:
    """Set the options. Half of `keep_alive` is silence, and the other half is for three probes without an answer."""
    sock: socket.socket = transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, options.no_delay)
    if options.keep_alive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, _IDLE, max(1, round(options.keep_alive / 2)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, round(options.keep_alive / 2 / _PROBES)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
        if sys.platform == "linux":  # the same time for bytes that were sent and are never acknowledged
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(options.keep_alive * 1000))

"""The Streamable HTTP listener: one endpoint for clients of both eras, and for WebSockets where they are asked for.

http_service.py makes links of requests. Below it http_connection.py keeps the order of things on one connection, http_reader.py
and http_wire.py know the bytes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

import msgspec

from fabric.links.accepted_links import AcceptedLinks
from fabric.links.base import LinkHandler, RequestHandler
from fabric.links.http.access import MCP, WEBSOCKET, Names, Page, RequestFilter, Resolve
from fabric.links.http.connection import ConnectionLimits, HttpConnection
from fabric.links.http.service import HttpService
from fabric.links.settings import DEFAULT_FRAME_BYTES, DEFAULT_STALL_TIMEOUT, LinkLimits
from fabric.links.sockets.binding import bind_tcp
from fabric.links.websocket.connection import WebSocketSettings
from fabric.security.access import AccessCheck, AccessRules
from fabric.security.forwarded import Proxies

_LONGEST_TICK = 1.0
_ABORT_TIMEOUT = 1.0


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how to listen.

    port: 0 picks one. resolve: a name in the path to a server. names: of all of them. pages: by path. path_prefix: what all
    paths of servers begin with, such as `/tools`. proxies: whose word about their clients counts. stall_timeout: seconds for
    which a client may take nothing of what waits for it. keep_alive_timeout: seconds between comments on silent streams.
    idle_timeout: seconds an idle connection stays open, longer than clients keep theirs, so that they close it.
    request_timeout: seconds for a request's head, and for each further piece of its body. close_timeout: seconds that open
    requests have left when the listener closes. websocket: how WebSockets are kept.
    """

    resolve: Resolve
    names: Names = tuple
    host: str = "127.0.0.1"
    port: int = 0
    path_prefix: str = ""
    access: AccessRules = AccessRules()
    proxies: Proxies = Proxies()
    pages: Mapping[str, Page] = {}
    max_body_bytes: int = DEFAULT_FRAME_BYTES
    keep_alive_timeout: float = 15.0
    idle_timeout: float = 75.0
    request_timeout: float = 20.0
    close_timeout: float = 5.0
    stall_timeout: float = DEFAULT_STALL_TIMEOUT
    websocket: WebSocketSettings = WebSocketSettings()


async def listen(handler: RequestHandler | None, settings: HttpSettings, converse: LinkHandler | None = None) -> HttpListener:
    """Listen: tell `reception` of each request that is let in, and let `converse` serve each WebSocket; None has none of those.

    Raises LinkRefused when the address cannot be had.
    """
    listener = HttpListener(handler, settings, await bind_tcp(settings.host, settings.port), converse)
    await listener.start()
    return listener


class HttpListener:
    """A Listener (links/base.py). `refusals` counts, by HTTP status, the requests that did not become a link."""

    def __init__(
        self, handler: RequestHandler | None, settings: HttpSettings, sock: socket.socket, converse: LinkHandler | None
    ) -> None:
        endpoints = {end for end, there in ((MCP, handler), (WEBSOCKET, converse)) if there is not None}
        access = AccessCheck(settings.access, settings.host)
        self._conversations = AcceptedLinks(converse) if converse is not None else None
        self._service = HttpService(
            filter=RequestFilter(
                access, settings.resolve, settings.pages, settings.proxies, settings.path_prefix, endpoints, settings.names
            ),
            limits=ConnectionLimits(
                max_body_bytes=settings.max_body_bytes,
                idle_timeout=settings.idle_timeout,
                request_timeout=settings.request_timeout,
                keep_alive_timeout=settings.keep_alive_timeout,
                stall_timeout=settings.stall_timeout,
            ),
            handler=handler,
            conversations=self._conversations,
            websocket=settings.websocket,
            stream_limits=LinkLimits(max_frame_bytes=settings.max_body_bytes, stall_timeout=settings.stall_timeout),
        )
        self.refusals = self._service.refusals
        self._close_timeout = settings.close_timeout
        self._socket = sock
        host, port = sock.getsockname()[:2]
        at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._address = f"{'ws' if handler is None and converse is not None else 'http'}://{at}{settings.path_prefix}"
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.TimerHandle | None = None
        shortest = min(settings.idle_timeout, settings.request_timeout, settings.keep_alive_timeout, settings.stall_timeout)
        self._tick_after = min(_LONGEST_TICK, shortest / 4)

    @property
    def address(self) -> str:
        """The base URL; the default server is at `/mcp` below it, and at `/ws`."""
        return self._address

    async def start(self) -> None:
        """Begin to accept connections."""
        self._tick()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: HttpConnection(self._service), sock=self._socket, backlog=2048)

    async def aclose(self) -> None:
        """See Listener.aclose. Sessions' streams end at once, open requests have `close_timeout` to be answered."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self._service.stop_accepting()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._service.all_gone(self._close_timeout))
            if self._conversations is not None:
                group.create_task(self._conversations.aclose(self._close_timeout))
        self._service.abort_all()
        await self._service.all_gone(_ABORT_TIMEOUT)
        if self._ticker is not None:
            self._ticker.cancel()
        await server.wait_closed()

    def _tick(self) -> None:
        """Act on what has waited too long, in one timer for all connections."""
        loop = asyncio.get_running_loop()
        self._service.expire(loop.time())
        self._ticker = loop.call_later(self._tick_after, self._tick)

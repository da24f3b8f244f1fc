"""Opens and closes the Streamable HTTP listener: one endpoint for clients of both eras, and one for WebSockets."""

from __future__ import annotations

import asyncio
import socket

from fabric.links.accepted_links import AcceptedLinks
from fabric.links.base import LinkHandler, RequestHandler
from fabric.links.http.access import MCP, WEBSOCKET, RequestFilter
from fabric.links.http.connection import ConnectionLimits, HttpConnection
from fabric.links.http.service import HttpService
from fabric.links.http.settings import HttpSettings
from fabric.links.settings import LinkLimits
from fabric.links.sockets.binding import bind_tcp
from fabric.security.access import AccessCheck

_LONGEST_TICK = 1.0
_ABORT_TIMEOUT = 1.0


async def listen(
    handler: RequestHandler | None, settings: HttpSettings, websocket_handler: LinkHandler | None = None
) -> HttpListener:
    """Listen; `handler` serves each admitted request, `websocket_handler` each WebSocket. None: that endpoint does not exist.

    Raises LinkRefused if the address cannot be listened on.
    """
    listener = HttpListener(handler, settings, await bind_tcp(settings.host, settings.port), websocket_handler)
    await listener.start()
    return listener


class HttpListener:
    """A Listener (links/base.py) for HTTP."""

    def __init__(
        self,
        handler: RequestHandler | None,
        settings: HttpSettings,
        sock: socket.socket,
        websocket_handler: LinkHandler | None,
    ) -> None:
        handlers = ((MCP, handler), (WEBSOCKET, websocket_handler))
        self._websockets = AcceptedLinks(websocket_handler) if websocket_handler is not None else None
        self._service = HttpService(
            filter=RequestFilter(
                access=AccessCheck(settings.access, settings.host),
                authenticator=settings.authenticator,
                proxies=settings.proxies,
                resolve=settings.resolve,
                names=settings.names,
                pages=settings.pages,
                prefix=settings.path_prefix,
                endpoints={endpoint for endpoint, each in handlers if each is not None},
            ),
            limits=ConnectionLimits(
                max_body_bytes=settings.max_body_bytes,
                idle_timeout=settings.idle_timeout,
                request_timeout=settings.request_timeout,
                keep_alive_timeout=settings.keep_alive_timeout,
                stall_timeout=settings.stall_timeout,
            ),
            handler=handler,
            websockets=self._websockets,
            websocket=settings.websocket,
            link_limits=LinkLimits(max_frame_bytes=settings.max_body_bytes, stall_timeout=settings.stall_timeout),
        )
        self.refusals = self._service.refusals
        """How many requests did not become a link, by HTTP status."""
        self._close_timeout = settings.close_timeout
        self._socket = sock
        host, port = sock.getsockname()[:2]
        at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._address = f"{'ws' if handler is None and websocket_handler is not None else 'http'}://{at}{settings.path_prefix}"
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.TimerHandle | None = None
        shortest = min(settings.idle_timeout, settings.request_timeout, settings.keep_alive_timeout, settings.stall_timeout)
        self._tick_after = min(_LONGEST_TICK, shortest / 4)

    @property
    def address(self) -> str:
        """The base URL. The default server is at `/mcp` and `/ws` below it."""
        return self._address

    async def start(self) -> None:
        """Begin to accept connections."""
        self._tick()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: HttpConnection(self._service), sock=self._socket, backlog=2048)

    async def aclose(self) -> None:
        """See Listener.aclose. The sessions' streams end at once; open requests may be answered within `close_timeout`."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self._service.stop_accepting()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._service.all_gone(self._close_timeout))
            if self._websockets is not None:
                group.create_task(self._websockets.aclose(self._close_timeout))
        self._service.abort_all()
        await self._service.all_gone(_ABORT_TIMEOUT)
        if self._ticker is not None:
            self._ticker.cancel()
        await server.wait_closed()

    def _tick(self) -> None:
        """Act on all deadlines that have passed: one timer serves all connections."""
        loop = asyncio.get_running_loop()
        self._service.expire(loop.time())
        self._ticker = loop.call_later(self._tick_after, self._tick)

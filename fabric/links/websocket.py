"""WebSockets, both sides: to MCP servers at `ws://` and `wss://`, and a port of its own for clients.

Each JSON-RPC message is a text frame; the subprotocol is `mcp`. A link that broke is not mended here: who opened it opens it
anew, as a bridge starts a server anew that has exited. The HTTP port has WebSockets too (http.py).
"""

from __future__ import annotations

import asyncio
from typing import cast

from fabric.capabilities import Capabilities
from fabric.errors import LinkHandshakeError
from fabric.links import http
from fabric.links.base import ConnectSettings, Handler, Link, LinkInfo
from fabric.links.conversations import StreamLimits
from fabric.links.mending import Mender
from fabric.links.opening import opening
from fabric.links.websocket_connection import WebSocket, WebSocketSettings
from fabric.links.websocket_handshake import Opening
from fabric.security.tls import client_context

CAPABILITIES = {"ws": Capabilities(compression=True), "wss": Capabilities(compression=True, encryption=True)}

_MAX_HEAD_BYTES = 64 * 1024


async def listen(handler: Handler, settings: http.HttpSettings) -> http.HttpListener:
    """Listen for WebSockets alone, by the rules of HTTP's door, at the same paths. Raises LinkRefused for the address."""
    return await http.listen(None, settings, handler)


async def connect(url: str, settings: ConnectSettings, *, id: str, options: WebSocketSettings | None = None) -> Link:
    """See links/base.Connect. The server's name is checked against its certificate, and told in the handshake (SNI)."""
    options = options or WebSocketSettings(compression=settings.compression)
    handshake = Opening(url, settings.headers, compression=options.compression, shown=settings.shown)
    context = client_context(settings.trust) if handshake.secure else None
    limits = StreamLimits(max_frame_bytes=settings.max_frame_bytes, stall_timeout=settings.stall_timeout)
    async with opening(handshake.where, settings.timeout):
        transport, calling = await asyncio.get_running_loop().create_connection(
            lambda: _Calling(handshake, options, limits),
            handshake.host,
            handshake.port,
            ssl=context,
            ssl_handshake_timeout=settings.timeout if context else None,
        )
    try:
        async with opening(handshake.where, settings.answer_timeout):
            socket = await calling.opened
    except BaseException:
        transport.abort()
        raise
    return socket.link(
        LinkInfo(id=id, transport="websocket", peer=handshake.where), Mender(handshake.where, settings.max_frame_bytes)
    )


class _Calling(asyncio.Protocol):
    """A connection whose opening handshake is under way; after it, it is the WebSocket's."""

    def __init__(self, handshake: Opening, options: WebSocketSettings, limits: StreamLimits) -> None:
        self.opened: asyncio.Future[WebSocket] = asyncio.get_running_loop().create_future()
        self._handshake = handshake
        self._options, self._limits = options, limits
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._handshake.request)

    def data_received(self, data: bytes) -> None:
        """Some of its answer came, and perhaps its first messages with it."""
        self._answer += data
        head, end, rest = self._answer.partition(b"\r\n\r\n")
        if self.opened.done():
            return
        if not end and len(head) < _MAX_HEAD_BYTES:
            return
        try:
            deflate = self._handshake.judge(head + end)
        except LinkHandshakeError as error:
            self.opened.set_exception(error)
            return
        socket = WebSocket(self._options, self._limits, server=False, deflate=deflate)
        self._transport.set_protocol(socket)
        socket.connection_made(self._transport)
        self.opened.set_result(socket)
        if rest:
            socket.data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        """The server would not have us."""
        if not self.opened.done():
            where = self._handshake.where
            self.opened.set_exception(
                LinkHandshakeError(f"{where} closed the connection during the handshake; see that WebSockets are spoken there")
            )

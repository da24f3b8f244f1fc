"""The link to an MCP server over a WebSocket: `ws://` and `wss://`.

Each JSON-RPC message is a text frame; the subprotocol is `mcp`. A broken link is not opened again here: its owner does that, as
a bridge starts a server again that has exited. fabric/links/http has the listening side.
"""

from __future__ import annotations

import asyncio
from typing import cast

from fabric.capabilities import Capabilities
from fabric.errors import LinkHandshakeError
from fabric.links.base import Link, LinkInfo
from fabric.links.connect_errors import mapped_connect_errors
from fabric.links.mending import Mender
from fabric.links.settings import ConnectSettings, LinkLimits
from fabric.links.websocket.connection import WebSocket, WebSocketSettings
from fabric.links.websocket.handshake import ClientHandshake
from fabric.security.tls import client_context

CAPABILITIES = {"ws": Capabilities(compression=True), "wss": Capabilities(compression=True, encryption=True)}

_MAX_HEAD_BYTES = 64 * 1024


async def connect(url: str, settings: ConnectSettings, *, id: str, options: WebSocketSettings | None = None) -> Link:
    """See links/base.Connect. With TLS, the handshake names the server (SNI), and its certificate has to have that name."""
    options = options or WebSocketSettings(compression=settings.compression)
    handshake = ClientHandshake(url, settings.headers, compression=options.compression, shown=settings.shown)
    context = client_context(settings.trust) if handshake.secure else None
    limits = LinkLimits(max_frame_bytes=settings.max_frame_bytes, stall_timeout=settings.stall_timeout)
    async with mapped_connect_errors(handshake.where, settings.timeout):
        transport, opening = await asyncio.get_running_loop().create_connection(
            lambda: _Opening(handshake, options, limits),
            handshake.host,
            handshake.port,
            ssl=context,
            ssl_handshake_timeout=settings.timeout if context else None,
        )
    try:
        async with mapped_connect_errors(handshake.where, settings.answer_timeout):
            socket = await opening.opened
    except BaseException:
        transport.abort()
        raise
    return socket.link(
        LinkInfo(id=id, transport="websocket", peer=handshake.where), Mender(handshake.where, settings.max_frame_bytes)
    )


class _Opening(asyncio.Protocol):
    """The connection during the opening handshake; after it, the connection belongs to a WebSocket."""

    def __init__(self, handshake: ClientHandshake, options: WebSocketSettings, limits: LinkLimits) -> None:
        self.opened: asyncio.Future[WebSocket] = asyncio.get_running_loop().create_future()
        self._handshake = handshake
        self._options, self._limits = options, limits
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server has accepted the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._handshake.request)

    def data_received(self, data: bytes) -> None:
        """A part of the answer has arrived, perhaps with the first messages behind it."""
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
        """The server has closed the connection."""
        if not self.opened.done():
            where = self._handshake.where
            self.opened.set_exception(
                LinkHandshakeError(f"{where} closed the connection during the handshake; see that it serves WebSockets")
            )

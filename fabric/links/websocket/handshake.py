"""The opening handshake of RFC 6455, by the `websockets` package: upgrade, key, subprotocol and extensions. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec
from websockets.client import ClientProtocol
from websockets.datastructures import Headers as HeaderFields
from websockets.exceptions import InvalidUpgrade, InvalidURI, NegotiationError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from fabric.errors import ConfigError, LinkHandshakeError

MCP = Subprotocol("mcp")

Headers = Mapping[bytes, bytes]
"""Header values of a request by lower-case name, repeated ones joined by commas."""


class Upgrade(msgspec.Struct, frozen=True):
    """A handshake that succeeds."""

    lines: bytes
    """The header lines of the 101 answer, each with CR LF at its end."""
    deflate: Extension | None
    """The negotiated compression."""


class UpgradeRefused(msgspec.Struct, frozen=True):
    """A handshake that is refused."""

    asked: bool
    """Whether the request asks for a WebSocket at all."""
    reason: str
    """The reason, for people."""
    lines: bytes = b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    """The header lines of the answer, which say how to ask for a WebSocket."""


def asks_for_websocket(headers: Headers) -> bool:
    """Whether a WebSocket is among the protocols that a request offers to upgrade to."""
    offered = headers.get(b"upgrade")
    return offered is not None and any(each.strip().lower() == b"websocket" for each in offered.split(b","))


def accept(headers: Headers, *, compression: bool) -> Upgrade | UpgradeRefused:
    """Judge a GET whose Host, Origin and path were allowed, as the handshake of a WebSocket."""
    extensions = [ServerPerMessageDeflateFactory()] if compression else None
    protocol = ServerProtocol(subprotocols=[MCP], select_subprotocol=_choose, extensions=extensions)
    if asks_for_websocket(headers):
        headers = {**headers, b"upgrade": b"websocket"}  # a server may choose among several offers
    fields = HeaderFields((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.items())
    response = protocol.accept(Request("/", fields))
    if response.status_code != 101:
        if isinstance(protocol.handshake_exc, InvalidUpgrade):
            reason = f"this path has a WebSocket, for clients of ws:// URLs: {protocol.handshake_exc}"
            return UpgradeRefused(asked=False, reason=reason)
        return UpgradeRefused(asked=True, reason=f"this is no WebSocket handshake: {protocol.handshake_exc}")
    kept = ((name, value) for name, value in response.headers.raw_items() if name != "Date")
    lines = "".join(f"{name.lower()}: {value}\r\n" for name, value in kept)
    return Upgrade(lines.encode(), next(iter(protocol.extensions), None))


def _choose(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Choose `mcp` if the client offers it. A client that offers no subprotocol is accepted without one."""
    if offered and MCP not in offered:
        raise NegotiationError("the only subprotocol here is mcp")
    return MCP if offered else None


_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})[ \r]")
_OURS = re.compile(r"host|connection|upgrade|sec-websocket-.*", re.IGNORECASE)
_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class ClientHandshake:
    """The client's side of a handshake: makes the request that asks for a WebSocket, and judges its answer."""

    def __init__(self, url: str, headers: Sequence[tuple[str, str]], *, compression: bool, shown: str = "") -> None:
        """shown: see ConnectSettings. Raises ConfigError, which quotes neither the URL nor header values."""
        try:
            uri = parse_uri(url)
        except (InvalidURI, ValueError):
            raise ConfigError("is not ws://HOST[:PORT]/PATH or wss://HOST[:PORT]/PATH") from None
        self.host, self.port, self.secure = uri.host, uri.port, uri.secure
        authority = f"[{uri.host}]" if ":" in uri.host else uri.host
        self.where = shown or f"{'wss' if uri.secure else 'ws'}://{authority}:{uri.port}{uri.path}"
        """The server, for people: without credentials or query."""
        extensions = [ClientPerMessageDeflateFactory(client_max_window_bits=True)] if compression else None
        self._protocol = ClientProtocol(uri, subprotocols=[MCP], extensions=extensions)
        request = self._protocol.connect()
        for name, value in headers:
            if not _FIELD.fullmatch(name) or _OURS.fullmatch(name) or not value.isprintable():
                raise ConfigError(f"header {name!r} cannot be sent with a WebSocket's handshake")
            request.headers.pop(name, None)
            request.headers[name] = value
        self.request = request.serialize()
        """The bytes of the request."""

    def judge(self, head: bytes) -> Extension | None:
        """Judge the head of the answer. Returns the negotiated compression; raises LinkHandshakeError for a refusal."""
        match = _STATUS.match(head)
        if match is None:
            raise LinkHandshakeError(f"{self.where} does not answer in HTTP, as a WebSocket server does; correct its URL")
        status = int(match[1])
        if status in (401, 403):
            raise LinkHandshakeError(f"{self.where} answered {status}: give its credentials, in the URL or a header")
        if status != 101:
            remedy = "see its log" if status >= 500 else "correct its URL"
            raise LinkHandshakeError(f"{self.where} answered {status}, so it has no WebSocket for us; {remedy}")
        self._protocol.receive_data(head)
        if (wrong := self._protocol.handshake_exc) is not None:
            raise LinkHandshakeError(f"{self.where} answered with an invalid handshake: {wrong}")
        return next(iter(self._protocol.extensions), None)

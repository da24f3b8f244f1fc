"""The HTTP connections to one remote server, shared by this process's links to it: kept alive, bounded, closed when idle."""

from __future__ import annotations

import asyncio
import errno
import socket
import weakref
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from fabric.errors import LinkBroken, LinkError, LinkOverflow, LinkProtocolError, LinkRefused, LinkTimeout
from fabric.links.connect_errors import mapped_connect_errors
from fabric.links.framing import HEAD_BYTES
from fabric.links.http_client.rules import USER_AGENT
from fabric.links.settings import ConnectSettings
from fabric.security.tls import client_context

_KEEPALIVE_SECONDS = 30
"""Silence after which the system probes a connection: a stream may be silent for ever."""
_DRAIN_TIMEOUT = 1.0
"""Seconds between the last message of an answer and its end; a connection that takes longer is not used again."""


class ServerResponse:
    """A server's answer, whose head has arrived. Its connection goes back to the pool once its body was read to the end."""

    def __init__(self, response: aiohttp.ClientResponse, where: str) -> None:
        self._response = response
        self._where = where
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        """Their names are case-insensitive."""
        self.kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        """The media type in lower case; empty without one."""

    @property
    def status_text(self) -> str:
        """The status with its phrase, for people."""
        with suppress(ValueError):
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        return str(self.status)

    async def chunk(self) -> bytes:
        """The part of the body that has arrived; empty at the end. Raises LinkBroken."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise LinkBroken(f"the answer of {self._where} broke off: {_plain(error)}") from error

    async def body(self, max_bytes: int) -> bytes:
        """All of the body. Raises LinkOverflow for one longer than `max_bytes`, and LinkBroken."""
        parts: list[bytes] = []
        size = 0
        while part := await self.chunk():
            parts.append(part)
            size += len(part)
            if size > max_bytes:
                reason = f"an answer of {self._where} is longer than the limit of {max_bytes} bytes (maxFrameBytes)"
                raise LinkOverflow(reason, head=b"".join(parts)[:HEAD_BYTES])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def finish(self) -> None:
        """Read to the end of the body, after its last message, unless that takes longer than _DRAIN_TIMEOUT."""
        if not self._response.content.at_eof():
            with suppress(TimeoutError, LinkError):
                async with asyncio.timeout(_DRAIN_TIMEOUT):
                    while await self.chunk():
                        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._response.close()  # if all of it was read, the connection is back in the pool already


class ConnectionPool:
    """The connections to one server. An eighth of them is reserved for short POSTs, so that a server can always be answered."""

    def __init__(self, where: str, settings: ConnectSettings) -> None:
        self.where = where
        """The server's URL, for people."""
        self.links = 0
        """How many links use the pool."""
        self._settings = settings
        headers = CIMultiDict({"User-Agent": USER_AGENT})
        headers.update(settings.headers)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=settings.connections,
                keepalive_timeout=settings.idle,
                ssl=client_context(settings.trust) if where.startswith("https:") else True,
                socket_factory=_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),  # sessions share the pool and must not share cookies
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.timeout),
            headers=headers,
        )
        self.room = asyncio.Semaphore(settings.connections - max(1, settings.connections // 8))
        """Held by each request and each stream, as long as it lasts."""
        self.stream_room = asyncio.Semaphore(settings.connections // 2)
        """Held by each session's stream besides: it lasts as long as its session."""

    async def request(self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None = None) -> ServerResponse:
        """Send a request and wait for the head of its answer. A failed attempt to connect is repeated by `redial`.

        Raises LinkRefused, one of its kinds or LinkTimeout if nothing was sent, LinkBroken if the request may have arrived.
        """
        redial = self._settings.redial
        try:
            return await self._request(method, url, headers, body)
        except LinkRefused as error:
            if redial is None:
                raise
            refused = [error]

        async def again() -> ServerResponse:
            if refused:
                raise refused.pop()  # the attempt above counts as the first: most requests need no redial
            return await self._request(method, url, headers, body)

        return await redial(again)

    async def _request(self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> ServerResponse:
        try:
            response = await self._session.request(method, url, data=body, headers=headers, allow_redirects=False)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise await self._refusal(error) from error
        except aiohttp.ClientResponseError as error:
            reason = error.message.partition(":")[0].strip()  # behind the colon are the bytes, which may be many
            raise LinkProtocolError(f"{self.where} does not answer in HTTP ({reason}); correct its URL") from error
        except (aiohttp.ClientError, OSError) as error:
            raise LinkBroken(f"{self.where} did not answer: {_plain(error)}") from error
        return ServerResponse(response, self.where)

    async def _refusal(self, error: aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) -> LinkError:
        cause: BaseException = error
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return LinkTimeout(f"{self.where} did not answer within {self._settings.timeout:g} s")
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            cause = error.certificate_error
        elif isinstance(error, aiohttp.ClientConnectorError):
            cause = error.os_error
        try:
            async with mapped_connect_errors(self.where, self._settings.timeout):
                raise cause
        except LinkError as refusal:
            return refusal

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()


_open: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, ConnectSettings], ConnectionPool]]
_open = weakref.WeakKeyDictionary()


def pool_for(where: str, url: str, settings: ConnectSettings) -> ConnectionPool:
    """The pool of this server, which all links with the same settings share. The link has to `release` it."""
    pools = _open.setdefault(asyncio.get_running_loop(), {})
    pool = pools.get((url, settings))
    if pool is None:
        pool = pools[url, settings] = ConnectionPool(where, settings)
    pool.links += 1
    return pool


async def release(pool: ConnectionPool) -> None:
    """Give up a link's use of the pool; it is closed with its last link."""
    pool.links -= 1
    if not pool.links:
        pools = _open[asyncio.get_running_loop()]
        for key in [key for key, each in pools.items() if each is pool]:
            del pools[key]
        await pool.aclose()


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):  # macOS has only the system's own time
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_SECONDS // 3)
    return sock


def _plain(error: Exception) -> str:
    """The failure in words that quote no header, which may be a secret."""
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return "it closed the connection"
    if isinstance(error, OSError) and error.errno in (errno.ECONNRESET, errno.EPIPE):
        return "it closed the connection"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__

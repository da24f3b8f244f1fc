"""The settings of links: the options of a listener, the settings of a connection to a server, and the limits of a long link."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from fabric.security.access import AccessRules
from fabric.security.auth.base import Authenticator
from fabric.security.forwarded import Proxies
from fabric.security.tls import Trust

T = TypeVar("T")

DEFAULT_FRAME_BYTES = 16 * 1024 * 1024
"""The longest frame accepted, unless configured."""
DEFAULT_STALL_TIMEOUT = 60.0
"""Seconds that a peer may read nothing of the frames that wait for it, unless configured."""


class LinkLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of a long link."""

    max_frame_bytes: int = DEFAULT_FRAME_BYTES
    """The longest frame accepted."""
    stall_timeout: float = DEFAULT_STALL_TIMEOUT
    """Seconds that the peer may read nothing of the frames that wait for it; then the link breaks."""


Resolve = Callable[[str], str | None]
"""Resolves the server name that a client gives, "" for none, to a server's name; None if there is no such server."""

Names = Callable[[], Sequence[str]]
"""Lists the servers that exist, for the answer to a client that names another."""


class ListenerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of all kinds of listeners; each kind reads those that its transport has. Times are seconds."""

    resolve: Resolve
    """Finds the server that a client of HTTP names."""
    names: Names
    """Lists the servers for a client of HTTP that names no known one."""
    server: str = ""
    """The MCP server that clients reach here; empty for any that a client names."""
    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = 0
    """0 picks a free one."""
    path: Path = Path()
    """The socket's file, where the listener has one instead of host and port."""
    mode: int = 0o600
    """The mode of that file: who may connect."""
    remove: bool = True
    """Whether that file is removed when the listener closes."""
    limits: LinkLimits = LinkLimits()
    """The limits of each link."""
    keep_alive: float = 15.0
    """Silence after which a client is sent a ping or a comment, if the transport has one."""
    compression: bool = False
    """Whether to accept compression, if the transport has it."""
    access: AccessRules = AccessRules()
    """The Host and Origin headers that are accepted."""
    authenticator: Authenticator | None = None
    """Authenticates clients of HTTP; None: they are not authenticated."""
    proxies: Proxies = Proxies()
    """The reverse proxies whose headers about their clients are trusted."""
    path_prefix: str = ""
    """The beginning of all paths of servers, over HTTP."""


class Redial(Protocol):
    """Calls `connect` until it succeeds; fabric/runtime/retry.py has one."""

    async def __call__(self, connect: Callable[[], Awaitable[T]], /) -> T:
        """The value that `connect` returns. Raises its last error after the last attempt."""
        ...


class ConnectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to open a link to an MCP server; one record for every transport."""

    headers: tuple[tuple[str, str], ...] = ()
    """Headers of the request that opens the link, over HTTP and WebSocket."""
    timeout: float = 10.0
    """Seconds to connect to the server, TLS included."""
    answer_timeout: float = 10.0
    """Seconds that a connected server has to open the link: to answer a WebSocket's handshake, or, over HTTP+SSE, to name the
    URL for POSTs."""
    trust: Trust = Trust()
    """How to judge the server's certificate, with TLS."""
    max_frame_bytes: int = DEFAULT_FRAME_BYTES
    """The longest frame accepted."""
    stall_timeout: float = DEFAULT_STALL_TIMEOUT
    """Seconds that the server may read nothing of the frames that wait for it."""
    compression: bool = False
    """Whether to ask for compression, if the transport has it."""
    redial: Redial | None = None
    """Repeats a failed attempt to connect, over HTTP, where a link connects for each request."""
    connections: int = 192
    """The most connections to one server at once, over HTTP."""
    idle: float = 4.0
    """Seconds after which an unused HTTP connection is closed. Many servers close theirs after 5 s, and it is unknown whether a
    request sent in that moment has arrived."""
    shown: str = ""
    """The server's URL as people may read it; empty to show LinkUrl.where."""

    def __repr__(self) -> str:
        return f"ConnectSettings({len(self.headers)} headers, timeout={self.timeout:g})"  # their values may be secrets

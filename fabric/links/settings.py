"""How a link to a server is opened, what a listener is given, and which bounds links keep."""

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
"""Longest frame accepted, unless told otherwise."""
DEFAULT_STALL_TIMEOUT = 60.0
"""Seconds for which a peer may take nothing of what waits for it, unless told otherwise."""


class LinkLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of a long link."""

    max_frame_bytes: int = DEFAULT_FRAME_BYTES
    """The longest frame accepted."""
    stall_timeout: float = DEFAULT_STALL_TIMEOUT
    """Seconds for which the peer may take nothing of what waits for it; then the link is broken."""


Resolve = Callable[[str], str | None]
"""From the name of a server that a client asks for, "" for none, to the server it means; None: there is no such server."""

Names = Callable[[], Sequence[str]]
"""The servers there are, for clients that ask for another."""


class ListenerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """All that a listener may be given; each kind takes what its transport knows. Times are seconds."""

    resolve: Resolve
    names: Names
    server: str = ""
    """The MCP server that clients reach here; empty for any that a client names."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 picks a free one."""
    path: Path = Path()
    """The socket's file, where the listener has one instead of host and port."""
    mode: int = 0o600
    """The mode of that file: who may connect."""
    remove: bool = True
    """Whether that file is removed when the listener closes."""
    limits: LinkLimits = LinkLimits()
    keep_alive: float = 15.0
    """Silence after which clients are sent something, where the transport has such a thing."""
    compression: bool = False
    """Whether compression is agreed to, where the transport has it."""
    access: AccessRules = AccessRules()
    authenticator: Authenticator | None = None
    """How clients of HTTP prove who they are; None: they are not asked."""
    proxies: Proxies = Proxies()
    """The reverse proxies whose word about their clients counts."""
    path_prefix: str = ""
    """What the paths of servers begin with, over HTTP."""


class Redial(Protocol):
    """Calls `connect` until it opens something; fabric/runtime/retry.py is one."""

    async def __call__(self, connect: Callable[[], Awaitable[T]], /) -> T:
        """What `connect` returned. Raises its last error when it is given up."""
        ...


class ConnectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to open a link to an MCP server; one record for every transport."""

    headers: tuple[tuple[str, str], ...] = ()
    """Headers of the request that opens the link, where there is one."""
    timeout: float = 10.0
    """Seconds to reach the server, TLS included."""
    answer_timeout: float = 10.0
    """Seconds that a server which was reached has to open the link: to answer a WebSocket's handshake, or to say where messages
    are posted to."""
    trust: Trust = Trust()
    """How to judge the server's certificate, where there is one."""
    max_frame_bytes: int = DEFAULT_FRAME_BYTES
    """The longest frame accepted."""
    stall_timeout: float = DEFAULT_STALL_TIMEOUT
    """Seconds for which the server may take nothing of what waits for it."""
    compression: bool = False
    """Ask for compression, where the transport knows it."""
    redial: Redial | None = None
    """Tries a failed connection again, where a link connects as it goes."""
    connections: int = 192
    """Most connections to one server at once, where a link is many requests."""
    idle: float = 4.0
    """Seconds after which an unused one of those is closed. Many servers close theirs after 5 s; a request that is under way by
    then may have arrived or not."""
    shown: str = ""
    """The server's URL as people may read it; empty for what LinkUrl.where shows of it."""

    def __repr__(self) -> str:
        return f"ConnectSettings({len(self.headers)} headers, timeout={self.timeout:g})"  # their values may be secrets

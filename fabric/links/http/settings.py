"""The settings of an HTTP listener: its address, its servers, its access rules and its limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from fabric.links.settings import DEFAULT_FRAME_BYTES, DEFAULT_STALL_TIMEOUT, ListenerOptions, Names, Resolve
from fabric.links.websocket.connection import WebSocketSettings
from fabric.security.access import AccessRules
from fabric.security.auth.base import Authenticator
from fabric.security.forwarded import Proxies

Page = Callable[[], tuple[int, bytes, str]]
"""A page beside the endpoints: returns status, body and media type, and is called for every GET."""


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one HTTP listener. Times are seconds."""

    resolve: Resolve
    """Finds the server that a path names."""
    names: Names = tuple
    """Lists the servers, for the answer to a path that names no known one."""
    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = 0
    """0 picks a free one."""
    path_prefix: str = ""
    """The beginning of all paths of servers, such as `/tools`."""
    access: AccessRules = AccessRules()
    """The Host and Origin headers that are accepted."""
    authenticator: Authenticator | None = None
    """Authenticates clients; None: they are not authenticated."""
    proxies: Proxies = Proxies()
    """The reverse proxies whose headers about their clients are trusted."""
    pages: Mapping[str, Page] = {}
    """Pages by path."""
    max_body_bytes: int = DEFAULT_FRAME_BYTES
    """The longest body of a request, and the longest message of a WebSocket."""
    keep_alive_timeout: float = 15.0
    """How long a stream may be silent before its client is sent a comment."""
    idle_timeout: float = 75.0
    """How long an idle connection stays open: longer than clients keep theirs, so that they close it."""
    request_timeout: float = 20.0
    """How long a request's head may take, and each further piece of its body."""
    close_timeout: float = 5.0
    """How long open requests may still be answered when the listener closes."""
    stall_timeout: float = DEFAULT_STALL_TIMEOUT
    """How long a client may read nothing of the answers that wait for it."""
    websocket: WebSocketSettings = WebSocketSettings()
    """How WebSockets are kept alive."""


def http_settings(options: ListenerOptions) -> HttpSettings:
    """The settings of an HTTP listener with these options."""
    return HttpSettings(
        resolve=options.resolve,
        names=options.names,
        host=options.host,
        port=options.port,
        path_prefix=options.path_prefix,
        access=options.access,
        authenticator=options.authenticator,
        proxies=options.proxies,
        max_body_bytes=options.limits.max_frame_bytes,
        keep_alive_timeout=options.keep_alive,
        stall_timeout=options.limits.stall_timeout,
        websocket=WebSocketSettings(
            ping_interval=options.keep_alive, ping_timeout=options.keep_alive, compression=options.compression
        ),
    )

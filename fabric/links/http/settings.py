"""Where and how an HTTP listener listens, for which servers, and for whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from fabric.links.settings import DEFAULT_FRAME_BYTES, DEFAULT_STALL_TIMEOUT, ListenerOptions, Names, Resolve
from fabric.links.websocket.connection import WebSocketSettings
from fabric.security.access import AccessRules
from fabric.security.auth.base import Authenticator
from fabric.security.forwarded import Proxies

Page = Callable[[], tuple[int, bytes, str]]
"""A page beside the endpoints: its status, body and media type, asked for on every GET."""


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one HTTP listener. Times are seconds."""

    resolve: Resolve
    names: Names = tuple
    host: str = "127.0.0.1"
    port: int = 0
    """0 picks a free one."""
    path_prefix: str = ""
    """What all paths of servers begin with, such as `/tools`."""
    access: AccessRules = AccessRules()
    authenticator: Authenticator | None = None
    """How clients prove who they are; None: they are not asked."""
    proxies: Proxies = Proxies()
    """The reverse proxies whose word about their clients counts."""
    pages: Mapping[str, Page] = {}
    """By path."""
    max_body_bytes: int = DEFAULT_FRAME_BYTES
    keep_alive_timeout: float = 15.0
    """Between comments on silent streams."""
    idle_timeout: float = 75.0
    """How long an idle connection stays open: longer than clients keep theirs, so that they close it."""
    request_timeout: float = 20.0
    """For a request's head, and for each further piece of its body."""
    close_timeout: float = 5.0
    """How long open requests have to be answered when the listener closes."""
    stall_timeout: float = DEFAULT_STALL_TIMEOUT
    """How long a client may take nothing of what waits for it."""
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

"""A listener for WebSockets alone: the HTTP listener without its MCP endpoint, with the same paths and rules."""

from __future__ import annotations

import msgspec

from fabric.links.base import LinkHandler
from fabric.links.http.listener import HttpListener
from fabric.links.http.listener import listen as listen_http
from fabric.links.http.settings import HttpSettings, http_settings
from fabric.links.settings import ListenerOptions


async def listen_for(handler: LinkHandler, options: ListenerOptions) -> HttpListener:
    """See links/base.Listen."""
    server = options.server
    if server:
        options = msgspec.structs.replace(
            options, resolve=lambda name: server if name in ("", server) else None, names=lambda: [server]
        )
    return await listen(handler, http_settings(options))


async def listen(handler: LinkHandler, settings: HttpSettings) -> HttpListener:
    """Listen; `handler` serves each WebSocket. Raises LinkRefused for the address."""
    return await listen_http(None, settings, handler)

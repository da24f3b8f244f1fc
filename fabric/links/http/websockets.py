"""A listener for WebSockets alone: the HTTP listener without its MCP endpoint, at the same paths and by the same rules."""

from __future__ import annotations

from fabric.links.base import LinkHandler
from fabric.links.http.listener import HttpListener
from fabric.links.http.listener import listen as listen_http
from fabric.links.http.settings import HttpSettings


async def listen(handler: LinkHandler, settings: HttpSettings) -> HttpListener:
    """Listen; `handler` serves each WebSocket. Raises LinkRefused for the address."""
    return await listen_http(None, settings, handler)

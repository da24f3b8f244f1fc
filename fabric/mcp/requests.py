"""The requests that the fabric itself sends. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fabric.mcp.initialize import LATEST_LEGACY
from fabric.mcp.jsonrpc import MODERN_VERSION

FABRIC = {"name": "mcp-transport-fabric", "version": "0"}
"""The clientInfo of the fabric itself. Its version is fixed, so that a server gets the same probe from every release."""


def modern_meta(client: Mapping[str, Any], capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """The `params._meta` of every modern request (2026-07-28 basic/index): the revision and the client."""
    return {
        "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
        "io.modelcontextprotocol/clientInfo": client,
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    }


def initialize_params(client: Mapping[str, Any] | msgspec.Raw, capabilities: Mapping[str, Any] | msgspec.Raw) -> dict[str, Any]:
    """The params of an initialize that offers the newest revision with sessions."""
    return {"protocolVersion": LATEST_LEGACY, "capabilities": capabilities, "clientInfo": client}


def discover(id: str) -> bytes:
    """The modern request for a server's name and its revisions."""
    return _request(id, "server/discover", {"_meta": modern_meta(FABRIC, {})})


def initialize(id: str, client: msgspec.Raw | None = None, capabilities: msgspec.Raw | None = None) -> bytes:
    """The legacy handshake: for a client of this name and these capabilities, raw JSON, or for the fabric itself."""
    return _request(id, "initialize", initialize_params(client or FABRIC, capabilities or {}))


def ping(id: str) -> bytes:
    """A legacy ping, which may be sent before the handshake."""
    return _request(id, "ping", {})


def list_tools(id: str, cursor: str) -> bytes:
    """A modern tools/list; `cursor` is empty for the first page."""
    params: dict[str, Any] = {"_meta": modern_meta(FABRIC, {})}
    if cursor:
        params["cursor"] = cursor
    return _request(id, "tools/list", params)


def _request(id: str, method: str, params: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": id, "method": method, "params": params})

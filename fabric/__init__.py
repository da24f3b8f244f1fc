"""MCP Transport Fabric: a distributed transport for the Model Context Protocol.

The Python API is imported when it is first used, and a broker's client or the MCP SDK when a connection is opened.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fabric.client.connect import connect
    from fabric.client.connection import Connection
    from fabric.client.link import ClientLink, LinkState
    from fabric.client.membership import Member, join
    from fabric.client.serve import Serving, serve, serving

__all__ = ["ClientLink", "Connection", "LinkState", "Member", "Serving", "connect", "join", "serve", "serving"]

_MODULES = {
    "connect": "connect",
    "Connection": "connection",
    "ClientLink": "link",
    "LinkState": "link",
    "Member": "membership",
    "join": "membership",
    "Serving": "serve",
    "serve": "serve",
    "serving": "serve",
}
"""The module of fabric/client of each name."""

if not TYPE_CHECKING:  # a type checker knows the names above, and no others

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module 'fabric' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"fabric.client.{_MODULES[name]}"), name)

"""What a modern request declares of its client, and so which process of a legacy server may run it."""

from __future__ import annotations

from typing import Any

import msgspec

from fabric.mcp import jsonrpc, requests
from fabric.mcp.jsonrpc import Message

_WITHOUT_MEANING = ("extensions", "experimental")  # no server of a revision before 2026-07-28 asks a client anything by them
_FOR_ALL = frozenset({"server/discover", "subscriptions/listen"})  # they run nothing that could ask a client


class Declared(msgspec.Struct, frozen=True):
    """One kind of client. A process is initialized for one kind of client, and runs requests of no other."""

    principal: str = ""
    """Who calls; empty where all clients are of this kind, and without authentication."""
    client: bytes = b""
    """The client's name and version, raw JSON; empty where the fabric stands for all clients."""
    capabilities: bytes = b"{}"
    """What a server may ask the client for, as JSON in a fixed order."""
    exclusive: bool = False
    """Whether a process of this kind runs one request at a time: what its server asks and logs names no request."""

    def initialize(self, id: str) -> bytes:
        """The request that opens a process for clients of this kind."""
        client = msgspec.Raw(self.client) if self.client else None
        return requests.initialize(id, client, msgspec.Raw(self.capabilities))


ANYBODY = Declared()
"""The kind of a client that can be asked nothing and wants no logs: all of these share a process."""


def declared(principal: str, message: Message) -> Declared:
    """The kind of the client of this request."""
    fields = jsonrpc.meta(message).fields
    if message.method in _FOR_ALL:
        return ANYBODY
    capabilities = _meaningful(fields.capabilities)
    if capabilities == ANYBODY.capabilities and not fields.log_level:
        return ANYBODY
    return Declared(principal, bytes(fields.client), capabilities, exclusive=True)


def _meaningful(capabilities: msgspec.Raw) -> bytes:
    try:
        named = jsonrpc.decode(bytes(capabilities), dict[str, Any]) if capabilities else {}
    except msgspec.DecodeError:
        return b"{}"
    kept = {name: value for name, value in named.items() if name not in _WITHOUT_MEANING}
    return msgspec.json.encode(kept, order="sorted")

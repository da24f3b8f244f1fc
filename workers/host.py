"""What a client can do for a server that asks: the protocol that `Client` uses, and a host that can do nothing."""

from __future__ import annotations

from typing import Any, Protocol

from fabric.errors import FabricError
from fabric.mcp import jsonrpc


class Unanswered(FabricError):
    """Nobody here gives what a server asks for. `code`: what the server is told, where it waits for an answer."""

    def __init__(self, reason: str, *, code: int = jsonrpc.METHOD_NOT_FOUND) -> None:
        super().__init__(reason)
        self.code = code


class Host(Protocol):
    """Who is behind the client: what it can do for a server, and whom the server's progress and logs interest."""

    capabilities: dict[str, Any]

    async def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The result of what a server asks for. Raises Unanswered."""
        ...

    def heard(self, method: str, params: dict[str, Any]) -> None:
        """A notification."""
        ...


class Nobody:
    """A host that can do nothing for a server."""

    def __init__(self) -> None:
        self.capabilities: dict[str, Any] = {}

    async def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - as every host's
        """See Host."""
        raise Unanswered(f"this client does nothing for {method}")

    def heard(self, method: str, params: dict[str, Any]) -> None:
        """See Host."""

"""Host: answers for the client what a server asks; and a host that answers nothing."""

from __future__ import annotations

from typing import Any, Protocol

from fabric.errors import FabricError
from fabric.mcp import jsonrpc


class Unanswered(FabricError):
    """Nobody here answers what a server asks."""

    def __init__(self, reason: str, *, code: int = jsonrpc.METHOD_NOT_FOUND) -> None:
        super().__init__(reason)
        self.code = code
        """The JSON-RPC error code for a server that waits for an answer."""


class Host(Protocol):
    """Stands behind a Client: it answers requests of the server and takes its notifications."""

    capabilities: dict[str, Any]
    """The client capabilities that are declared to the server."""

    async def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The result of a request of the server. Raises Unanswered."""
        ...

    def on_notification(self, method: str, params: dict[str, Any]) -> None:
        """A notification of the server."""
        ...


class Nobody:
    """A host that answers nothing."""

    def __init__(self) -> None:
        self.capabilities: dict[str, Any] = {}

    async def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - as every host's
        """See Host."""
        raise Unanswered(f"this client does nothing for {method}")

    def on_notification(self, method: str, params: dict[str, Any]) -> None:
        """See Host."""

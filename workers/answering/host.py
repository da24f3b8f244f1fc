"""Host: answers the requests that a server sends to a Client. NoHost: refuses them all."""

from __future__ import annotations

from typing import Any, Protocol

from fabric.errors import FabricError
from fabric.mcp import jsonrpc


class Unanswered(FabricError):
    """A request of a server cannot be answered here."""

    def __init__(self, reason: str, *, code: int = jsonrpc.METHOD_NOT_FOUND) -> None:
        super().__init__(reason)
        self.code = code
        """The JSON-RPC error code for a server that waits for an answer."""


class Host(Protocol):
    """Answers the requests of a Client's server, and takes its notifications."""

    capabilities: dict[str, Any]
    """The client capabilities that are declared to the server."""

    async def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The result of a request of the server. Raises Unanswered."""
        ...

    def on_notification(self, method: str, params: dict[str, Any]) -> None:
        """Take a notification of the server."""
        ...


class NoHost:
    """A host that answers no request."""

    def __init__(self) -> None:
        self.capabilities: dict[str, Any] = {}

    async def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - as every host's
        """See Host."""
        raise Unanswered(f"this client does nothing for {method}")

    def on_notification(self, method: str, params: dict[str, Any]) -> None:
        """See Host."""

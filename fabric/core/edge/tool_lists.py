"""What an edge knows of its servers' tools: listed by the edge itself, or heard in the sessions that pass through it.

A list that could not be fetched replaces none: the last good one counts, and is asked for again after a pause, behind the
calls. A server that only has sessions is never asked; there the lists count that its clients get.
"""

from __future__ import annotations

from fabric.core.edge.correlation import NEVER, CorrelationRouter, Exchange
from fabric.core.edge.directory import ServerDirectory
from fabric.mcp import requests
from fabric.mcp.tools import Catalog

LIST_TIMEOUT = 10.0
"""Seconds after which calls stop waiting for their server's list of tools, unless the server itself is still starting."""
PAUSE = 5.0
"""Seconds after a list could not be fetched before it is asked for again."""
HEARD_MOST = 10_000
"""How many tools of one server are remembered of lists that pass."""


class ToolLists:
    """The catalogs of every server. retry_calls: servers whose calls may all be repeated, as the configuration says."""

    def __init__(self, router: CorrelationRouter, directory: ServerDirectory, retry_calls: frozenset[str]) -> None:
        self._router = router
        self._directory = directory
        self._retry_calls = retry_calls
        self._catalogs: dict[str, Catalog] = {}
        self.listing: dict[str, tuple[Catalog, float]] = {}  # by server, the pages so far and when they must be complete

    def repeatable(self, server: str, tool: str) -> bool:
        """Whether a call of this tool may be run again, in a session or without one; not, as long as nothing is known."""
        if server in self._retry_calls:
            return True
        catalog = self._catalogs.get(server)
        return catalog is not None and catalog.repeatable(tool)

    def catalog(self, server: str, now: float) -> Catalog | None:
        """The newest list, or None before the first has come or failed; fetched anew, behind what asks, if it is not fresh."""
        catalog = self._catalogs.get(server)
        if (catalog is None or now >= catalog.fresh_until) and server not in self.listing:
            due = NEVER if self._directory.untaken(server) else now + LIST_TIMEOUT
            self.listing[server] = (Catalog(), due)
            self._fetch(server, "", due, now)
        return catalog

    def expect(self, server: str, now: float) -> None:
        """Calls in a session are to be expected: see that the tools are known by then, where the server can be asked."""
        if self._directory.modern(server) and server not in self._retry_calls:
            self.catalog(server, now)

    def hear(self, server: str, answer: bytes, now: float) -> None:
        """A session's own list, or a page of it, passes."""
        if self._directory.modern(server) or server in self._retry_calls:
            return
        catalog = self._catalogs.get(server)
        if catalog is None or len(catalog.tools) > HEARD_MOST:
            catalog = Catalog()
        if catalog.page(answer, now) is not None:
            self._catalogs[server] = catalog

    def _fetch(self, server: str, cursor: str, due: float, now: float) -> None:
        exchange = self._router.new("", server, now)
        exchange.method, exchange.repeatable = "tools/list", True
        exchange.body = requests.list_tools(exchange.id, cursor)
        self._router.offer(exchange, now)
        exchange.lapses = min(due, exchange.lapses)
        self._router.deadlines.set(exchange.id, min(exchange.resend, exchange.due, exchange.lapses))

    def listed(self, exchange: Exchange, answer: bytes, now: float) -> Catalog | None:
        """A page of a list that was fetched came, or will not come. Returns what is known now, None while more is to come."""
        server = exchange.server
        catalog, due = self.listing[server]
        cursor = catalog.page(answer, now)
        if cursor and now < due:
            self._fetch(server, cursor, due, now)
            return None
        del self.listing[server]
        if cursor != "":  # it failed, perhaps half-way: half a list is better than none, and no better than an older one
            catalog = self._catalogs.get(server, catalog)
            catalog.fresh_until = now + PAUSE
        self._catalogs[server] = catalog
        return catalog

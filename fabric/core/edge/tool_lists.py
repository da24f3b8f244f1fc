"""The tools of each server, as an edge knows them: listed by the edge itself, or read in the lists that its clients get.

A list that cannot be fetched replaces none: the last good one stays, and is fetched again after a pause, while calls go on. A
server that has only sessions gets no request of the edge's own: its tools are known from the lists that its clients get.

Above it: routing.py. Below it: correlation.py, which carries the edge's own tools/list; in fabric/mcp, the
catalog (tools.py) and the decision which requests may be run again (repeatable.py).
"""

from __future__ import annotations

from typing import Any

import msgspec

from fabric.core.edge.correlation import CorrelationRouter
from fabric.core.edge.directory import ServerDirectory
from fabric.core.edge.exchange import Exchange, Request
from fabric.mcp import jsonrpc, requests
from fabric.mcp.jsonrpc import Message
from fabric.mcp.repeatable import may_run_again
from fabric.mcp.tools import Catalog

LIST_TIMEOUT = 10.0
"""Seconds after which calls stop waiting for their server's list of tools, once a bridge takes work of that server."""
PAUSE = 5.0
"""Seconds after which a list that could not be fetched is fetched again."""
OVERHEARD_TOOLS = 10_000
"""How many tools of one server are remembered from the lists that its clients get."""

Params = tuple[tuple[str, str], ...] | None


class ToolList(msgspec.Struct, eq=False):
    """A list that is being fetched, page by page. It is the Asker of the request for each page."""

    lists: ToolLists
    """The owner of the list."""
    server: str
    due: float
    """When it must be complete; put off while no bridge takes work of its server."""
    catalog: Catalog
    """The tools of the pages that have come."""
    waiting: list[tuple[Exchange, Message, Params]]
    """The calls that wait for it."""
    page: Exchange | None = None
    """The request for the page that is to come."""
    link: str = ""
    """See Asker.link: always empty."""

    def message(self, exchange: Exchange, frame: bytes, event: int, now: float) -> bool:  # noqa: ARG002
        """See Asker.message. No client waits for it."""
        return False

    def answered(self, exchange: Exchange, answer: bytes, now: float) -> bool:  # noqa: ARG002
        """See Asker.answered."""
        return self.lists.listed(self, answer, now)

    def refused(self, exchange: Exchange, error: bytes, now: float) -> None:  # noqa: ARG002
        """See Asker.refused."""
        self.lists.listed(self, b"", now)

    def done(self, exchange: Exchange) -> None:
        """See Asker.done. It never comes to this."""

    def ended(self, exchange: Exchange) -> None:
        """See Asker.ended. It never comes to this: nobody cancels a list."""


class ToolLists:
    """The tools of every server. retry_calls: the servers whose calls may all be repeated, as the configuration says."""

    def __init__(self, router: CorrelationRouter, directory: ServerDirectory, retry_calls: frozenset[str]) -> None:
        self._router = router
        self._directory = directory
        self._retry_calls = retry_calls
        self._catalogs: dict[str, Catalog] = {}
        self.listing: dict[str, ToolList] = {}  # by server

    def amounts(self) -> dict[str, Any]:
        """See EdgeSnapshot."""
        listing = self.listing.values()
        return {"tool_lists": len(listing), "calls_awaiting_tools": sum(len(each.waiting) for each in listing)}

    def repeatable(self, request: Request, message: Message) -> bool:
        """Whether a request may be run again, in a session or without one, by what is known of its server's tools now."""
        server = request.server
        return may_run_again(message, request.target, self._catalogs.get(server), retry_calls=server in self._retry_calls)

    def call(self, exchange: Exchange, message: Message, params: Params, now: float) -> None:
        """Send a call, once its server's tools are known. params: see RequestRouting.route."""
        catalog = self.catalog(exchange.request.server, now)
        if catalog is None:
            self.listing[exchange.request.server].waiting.append((exchange, message, params))
        else:
            self._offer(catalog, exchange, message, params, now)

    def _offer(self, catalog: Catalog, exchange: Exchange, message: Message, params: Params, now: float) -> None:
        if params is not None:
            mismatch = catalog.mismatch(exchange.request.target, message, params)
            if mismatch:
                error = jsonrpc.error_frame(message.id, jsonrpc.HEADER_MISMATCH, f"Header mismatch: {mismatch}")
                exchange.asker.refused(exchange, error, now)
                return
        exchange.repeatable = self.repeatable(exchange.request, message)
        self._router.offer(exchange, now)

    # ------------------------------------------------------------ lists
    def catalog(self, server: str, now: float) -> Catalog | None:
        """The newest list, or None until the first has come or failed. One that is not fresh is fetched again meanwhile."""
        catalog = self._catalogs.get(server)
        if (catalog is None or now >= catalog.fresh_until) and server not in self.listing:
            self.listing[server] = ToolList(self, server, now + LIST_TIMEOUT, Catalog(), [])
            self._fetch(self.listing[server], "", now)
        return catalog

    def expect(self, server: str, now: float) -> None:
        """Expect calls in a session: have the tools fetched before, if the server can list them without one."""
        if self._directory.modern(server) and server not in self._retry_calls:
            self.catalog(server, now)

    def overhear(self, server: str, answer: bytes, now: float) -> None:
        """The client of a session gets a list of tools, or a page of one."""
        if self._directory.modern(server) or server in self._retry_calls:
            return
        catalog = self._catalogs.get(server)
        if catalog is None or len(catalog.tools) > OVERHEARD_TOOLS:
            catalog = Catalog()
        if catalog.page(answer, now) is not None:
            self._catalogs[server] = catalog

    def _fetch(self, tool_list: ToolList, cursor: str, now: float) -> None:
        id = self._router.mint()
        request = Request(server=tool_list.server, arrived=now, method="tools/list")
        tool_list.page = Exchange(id, request, tool_list, requests.list_tools(id, cursor), repeatable=True)
        self._router.offer(tool_list.page, now)

    def look(self, now: float) -> None:
        """The regular look: give up the lists that are late."""
        for tool_list in list(self.listing.values()):
            if self._directory.untaken(tool_list.server):
                tool_list.due = now + LIST_TIMEOUT
            elif now >= tool_list.due and tool_list.page is not None:
                self._router.give_up(tool_list.page, now)

    def listed(self, tool_list: ToolList, answer: bytes, now: float) -> bool:
        """A page of a list that is being fetched has come, or failed (empty). After the last, the waiting calls go on.

        Returns whether it was a page.
        """
        server, catalog = tool_list.server, tool_list.catalog
        cursor = catalog.page(answer, now)
        if cursor and now < tool_list.due:
            self._fetch(tool_list, cursor, now)
            return True
        del self.listing[server]
        if cursor != "":  # it failed: the pages that have come are better than none, and no better than an older list
            catalog = self._catalogs.get(server, catalog)
            catalog.fresh_until = now + PAUSE
        self._catalogs[server] = catalog
        for exchange, message, params in tool_list.waiting:
            if exchange.asker.link:  # else its client has left
                self._offer(catalog, exchange, message, params, now)
        return cursor is not None

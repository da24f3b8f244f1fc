"""A remote server's endpoint, as one link addresses it: where its requests go, and the session and revision they name."""

from __future__ import annotations

from collections.abc import Mapping

from yarl import URL

from fabric.links.http_client import rules
from fabric.links.http_client.connection_pool import ConnectionPool, ServerResponse


class Endpoint:
    """The endpoint of one link."""

    def __init__(self, pool: ConnectionPool, url: URL) -> None:
        self.url = url
        self.session = ""
        """The session that the answer to a legacy initialize named; empty before, and in the modern era."""
        self.version = ""
        """The revision that it named, likewise."""
        self._pool = pool

    def headers(self, common: dict[str, str], last_event: str = "") -> dict[str, str]:
        """A legacy request's headers, as far as its session has got."""
        headers = dict(common)
        if self.session:
            headers["Mcp-Session-Id"] = self.session
        if self.version:
            headers["MCP-Protocol-Version"] = self.version
        if last_event:
            headers["Last-Event-ID"] = last_event
        return headers

    async def post(self, body: bytes, headers: Mapping[str, str]) -> ServerResponse:
        """Send a POST, to where it is redirected on the same server. Raises as Pool.request."""
        answer = await self._pool.request("POST", self.url, headers, body)
        if answer.status in (307, 308) and "Location" in answer.headers:
            there = self.url.join(URL(answer.headers["Location"]))
            if there.origin() == self.url.origin():
                await answer.finish()
                self.url = there
                answer = await self._pool.request("POST", self.url, headers, body)
        return answer

    async def get(self, last_event: str) -> ServerResponse:
        """Ask for the session's own stream, or for one from after the event of this id on. Raises as Pool.request."""
        return await self._pool.request("GET", self.url, self.headers(rules.GET, last_event))

    async def delete(self) -> None:
        """End the session, if there is one. Raises as Pool.request."""
        if self.session:
            async with await self._pool.request("DELETE", self.url, self.headers(rules.GET)) as answer:
                await answer.finish()

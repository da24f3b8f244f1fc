"""The endpoint of a remote server, for one link: the URL of its requests, and the session and revision that they name."""

from __future__ import annotations

from collections.abc import Mapping

from yarl import URL

from fabric.links.http_client import rules
from fabric.links.http_client.connection_pool import ConnectionPool, ServerResponse


class Endpoint:
    """The endpoint of one link."""

    def __init__(self, pool: ConnectionPool, url: URL) -> None:
        self.url = url
        """The URL of all requests; a redirect changes it."""
        self.session = ""
        """The session that the answer to a legacy initialize named; empty before, and in the modern era."""
        self.version = ""
        """The revision that the answer to a legacy initialize named; empty before, and in the modern era."""
        self._pool = pool

    def headers(self, common: dict[str, str], last_event: str = "") -> dict[str, str]:
        """The headers of a legacy request: `common`, and those that its session has by now."""
        headers = dict(common)
        if self.session:
            headers["Mcp-Session-Id"] = self.session
        if self.version:
            headers["MCP-Protocol-Version"] = self.version
        if last_event:
            headers["Last-Event-ID"] = last_event
        return headers

    async def post(self, body: bytes, headers: Mapping[str, str]) -> ServerResponse:
        """Send a POST, and follow one redirect within the same server. Raises as ConnectionPool.request."""
        answer = await self._pool.request("POST", self.url, headers, body)
        if answer.status in (307, 308) and "Location" in answer.headers:
            location = self.url.join(URL(answer.headers["Location"]))
            if location.origin() == self.url.origin():
                await answer.finish()
                self.url = location
                answer = await self._pool.request("POST", self.url, headers, body)
        return answer

    async def get(self, last_event: str) -> ServerResponse:
        """Open the session's own stream, or a stream after the event `last_event`. Raises as ConnectionPool.request."""
        return await self._pool.request("GET", self.url, self.headers(rules.GET, last_event))

    async def delete(self) -> None:
        """End the session, if there is one. Raises as ConnectionPool.request."""
        if self.session:
            async with await self._pool.request("DELETE", self.url, self.headers(rules.GET)) as answer:
                await answer.finish()

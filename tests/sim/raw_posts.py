"""Requests over HTTP that a test makes by itself, with all frames that come back."""

from __future__ import annotations

from typing import Any

import msgspec

from fabric.core.effects import Send
from fabric.core.events import RequestPosted, SessionRef
from fabric.mcp import jsonrpc
from tests.sim.http_clients import Http, Post
from tests.sim.requests import frame
from tests.sim.world import World


class RawPost(Post):
    """A POST, DELETE or GET whose response is kept as it came, and not checked."""

    def __init__(self, client: Http, link: str, session: SessionRef | None = None) -> None:
        super().__init__(client, link, None, session)
        self.frames: list[Any] = []
        self.answer = b""  # the newest frame

    def sent(self, effect: Send) -> None:
        self.over = self.over or effect.final
        self.answer = effect.frame
        self.frames.append(msgspec.json.decode(effect.frame))


def post(world: World, client: Http, method: str, params: dict[str, Any], *, id: bytes = b"1", edge: int = 0) -> RawPost:
    """Post a modern request with these parameters at the edge of this number."""
    process = world.edges[edge]
    raw_post = RawPost(client, f"{client.name}/raw{len(process.links)}-{world.now}")
    meta = params.pop("_meta", {}) | {"io.modelcontextprotocol/protocolVersion": jsonrpc.MODERN_VERSION}
    message = frame(id, method, params | {"_meta": meta})
    process.links[raw_post.link] = raw_post
    process.feed(RequestPosted(raw_post.link, client.server, client.name, message, None, (), "http"))
    return raw_post

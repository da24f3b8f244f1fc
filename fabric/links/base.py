"""The link family's contract: one connection that carries JSON-RPC frames, to a client or to an MCP server.

A link moves whole frames and nothing else: it never retries, logs or looks into them further than its transport asks. Errors
come as a triple: LinkClosed (we closed), EndOfLink (the peer did), LinkBroken (the world did). tests/contract/test_links.py
holds every member to this page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from itertools import count
from typing import Protocol

import msgspec

from fabric.caller import NOBODY, Caller
from fabric.links.settings import ConnectSettings, ListenerOptions
from fabric.mcp.jsonrpc import Message

_numbers = count(1)


def new_link_id(transport: str) -> str:
    """An id that no other link of this process has, whichever listener accepted it."""
    return f"{transport}-{next(_numbers)}"


class Purpose(StrEnum):
    """What a link is for. All but a long link are one HTTP request each."""

    LONG_LINK = "long link"
    """A duplex that lasts: stdio, a socket."""
    POST = "POST"
    """One message in; an answer, an acceptance or a stream of messages out."""
    EVENT_STREAM = "event stream"
    """A GET of a legacy session: nothing in, the session's own messages out."""
    DELETE_SESSION = "DELETE session"
    """A DELETE of a legacy session: nothing in, an acceptance out."""


class LinkInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a link when it opens."""

    id: str
    """Unique in this process."""
    transport: str
    """`stdio`, `http`, `tcp` and so on."""
    purpose: Purpose = Purpose.LONG_LINK
    server: str = ""
    """The MCP server that its client asked for."""
    principal: str = ""
    """The caller as authentication has it, empty for nobody in particular."""
    peer: str = ""
    """The other end, for people."""
    caller: Caller = NOBODY
    """The caller's address, scheme and host, as far as the transport tells."""
    session: str = ""
    """The Mcp-Session-Id of an HTTP request."""
    version: str = ""
    """Its MCP-Protocol-Version."""
    last_event: str = ""
    """Its Last-Event-ID."""
    params: tuple[tuple[str, str], ...] = ()
    """Its decoded Mcp-Param-* headers, by lower-case name."""
    trace: str = ""
    """Its traceparent header, unchecked."""
    answer_only: bool = False
    """Its client takes the answer, and nothing that would come before it."""


class Link(Protocol):
    """A duplex of JSON-RPC frames. One reader; frames arrive whole and in order."""

    @property
    def info(self) -> LinkInfo:
        """What is known of the link."""
        ...

    async def receive(self) -> Message:
        """The next message; does not suspend while one is buffered.

        Raises InvalidFrame for bytes that are no message and LinkOverflow for a frame over the limit, whose rest is skipped
        (the link lives after both), EndOfLink after the peer's last message, LinkBroken when the transport failed, LinkClosed
        after aclose() or, on a link of one HTTP request, after its final frame. Cancelling it loses nothing.
        """
        ...

    def send(self, frame: bytes, *, event: str = "", final: bool = False) -> None:
        """Queue a frame; frames queued in one turn of the loop leave in one write. Does not block.

        event: the frame's id where the transport's streams can be resumed, else ignored. final: it is the response that ends
        a short link, else ignored. What a slow peer does not take waits here, however much that is (`unsent_bytes`); one that
        takes nothing of it for a time breaks the link. Raises LinkClosed or LinkBroken after the end.
        """
        ...

    @property
    def unsent_bytes(self) -> int:
        """About how much of what was sent the peer has not taken; whoever sends bounds it."""
        ...

    @property
    def unsent(self) -> Sequence[bytes]:
        """After the link broke: the frames, as they were sent, of which surely no byte has left. They can be sent elsewhere."""
        ...

    async def drain(self) -> None:
        """Wait until the peer has taken enough that little is queued. Raises LinkBroken if it goes first."""
        ...

    async def aclose(self) -> None:
        """Send what is queued, within a bounded time, then close. Idempotent; never raises."""
        ...


class RequestLink(Protocol):
    """The link of one HTTP request. Its RequestHandler is given the message; the link may end without a final frame.

    Where its client takes the answer alone (`info.answer_only`), nothing else is sent.
    """

    @property
    def info(self) -> LinkInfo:
        """What is known of the link."""
        ...

    def send(self, frame: bytes, *, event: str = "", final: bool = False) -> None:
        """See Link.send. What is final is written at once, and the link has ended."""
        ...

    @property
    def unsent_bytes(self) -> int:
        """See Link.unsent_bytes."""
        ...

    def accept(self) -> None:
        """End it with 202 Accepted (200 for the end of a session) and no body."""
        ...

    def establish(self, token: str) -> None:
        """The answer to come carries this Mcp-Session-Id."""
        ...

    def finish(self) -> None:
        """End the stream without a response frame: the exchange was cancelled, or the session's own stream is over."""
        ...

    async def drain(self) -> None:
        """See Link.drain."""
        ...


class RequestHandler(Protocol):
    """Handles a listener's HTTP requests, by one call each: a task or a future for every POST would cost more than the POST.

    `on_request` comes first for each link; `on_waiting` may follow, more than once. Then either the handler ends the link (by a
    final frame, `accept` or `finish`), or `on_disconnect` comes once.
    """

    def on_request(self, link: RequestLink, message: Message | None) -> None:
        """A whole request was admitted: a POST with its message, an event stream or the end of a session with None."""
        ...

    def on_waiting(self, link: RequestLink) -> None:
        """The client of an initialize has waited long without a byte: `establish`, then `send(b"")`, give it a stream."""
        ...

    def on_disconnect(self, link: RequestLink) -> None:
        """The client left, or the listener closed, before the link was ended. Sending raises LinkBroken or LinkClosed."""
        ...


LinkHandler = Callable[[Link], Awaitable[object]]
"""Serves a long link that a listener accepted: it runs until the link has ended; the listener closes the link afterwards."""


class Connect(Protocol):
    """The function `connect` in the module of each transport to MCP servers; registry.CONNECTORS lists them."""

    async def __call__(self, url: str, settings: ConnectSettings, *, id: str) -> Link:
        """Open a long link to the server at `url`. Raises LinkRefused and its kinds, LinkTimeout, ConfigError."""
        ...


class Listen(Protocol):
    """The function `listen_for` in the module of each kind of listener; registry.LISTENERS lists them."""

    async def __call__(self, handler: LinkHandler, options: ListenerOptions) -> Listener:
        """Listen; `handler` serves each link. Raises LinkRefused for the address."""
        ...


class Listener(Protocol):
    """Accepts links until closed."""

    @property
    def address(self) -> str:
        """Where it listens, for people and for clients: the real port where 0 was asked for."""
        ...

    async def aclose(self) -> None:
        """Stop accepting, close the links, free the address. Idempotent."""
        ...

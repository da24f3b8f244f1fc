"""The contract of links and listeners: a link is one connection that carries JSON-RPC frames, to a client or to an MCP server.

A link moves whole frames and nothing else: it never retries or logs, and parses no more of a frame than its transport needs.
It ends with one of three errors: LinkClosed (we closed it), EndOfLink (the peer closed it), LinkBroken (it failed).
tests/contract/test_links.py holds every link to this page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from itertools import count
from typing import Protocol

import msgspec

from fabric.caller import UNKNOWN_CALLER, Caller
from fabric.links.settings import ConnectSettings, ListenerOptions
from fabric.mcp.jsonrpc import Message

_numbers = count(1)


def new_link_id(transport: str) -> str:
    """An id that no other link of this process has, not even one of another listener."""
    return f"{transport}-{next(_numbers)}"


class Purpose(StrEnum):
    """What a link is for. Each link but a long link is one HTTP request."""

    LONG_LINK = "long link"
    """A lasting duplex: stdio, a socket, a WebSocket."""
    POST = "POST"
    """Receives one message; sends an answer, an acceptance or a stream of messages."""
    EVENT_STREAM = "event stream"
    """The GET of a legacy session: receives nothing, sends the session's own messages."""
    DELETE_SESSION = "DELETE session"
    """The DELETE of a legacy session: receives nothing, sends an acceptance."""


class LinkInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a link when it opens."""

    id: str
    """Unique in this process."""
    transport: str
    """`stdio`, `http`, `tcp` and so on."""
    purpose: Purpose = Purpose.LONG_LINK
    """What the link is for."""
    server: str = ""
    """The MCP server that the client asked for; empty on a link to a server."""
    principal: str = ""
    """The name of the authenticated caller; empty where clients are not authenticated."""
    peer: str = ""
    """The other end, for people."""
    caller: Caller = UNKNOWN_CALLER
    """The caller's address, scheme and host, as far as the transport knows them."""
    session: str = ""
    """The Mcp-Session-Id header of an HTTP request."""
    version: str = ""
    """The MCP-Protocol-Version header of an HTTP request."""
    last_event: str = ""
    """The Last-Event-ID header of an HTTP request."""
    params: tuple[tuple[str, str], ...] = ()
    """The decoded Mcp-Param-* headers of an HTTP request, by lower-case name."""
    trace: str = ""
    """The traceparent header of an HTTP request, unchecked."""
    answer_only: bool = False
    """Whether the client takes only the answer, and no messages before it."""


class Link(Protocol):
    """A duplex of JSON-RPC frames. One reader; frames arrive whole and in order."""

    @property
    def info(self) -> LinkInfo:
        """What is known of the link."""
        ...

    async def receive(self) -> Message:
        """The next message; does not suspend while one is buffered.

        Raises InvalidFrame for bytes that are no message and LinkOverflow for a frame over the limit, whose rest is skipped
        (the link goes on after both), EndOfLink after the peer's last message, LinkBroken when the transport failed, LinkClosed
        after aclose() or, on a link of one HTTP request, after its final frame. Cancelling it loses no message.
        """
        ...

    def send(self, frame: bytes, *, event: str = "", final: bool = False) -> None:
        """Queue a frame; frames queued in one turn of the loop leave in one write. Does not block.

        event: the frame's id in a stream that can be resumed; other links ignore it. final: the frame is the response that ends
        a link of one HTTP request; other links ignore it. Frames wait here for a slow peer without a bound (`unsent_bytes`);
        a peer that reads nothing of them for `stall_timeout` breaks the link. Raises LinkClosed or LinkBroken after the end.
        """
        ...

    @property
    def unsent_bytes(self) -> int:
        """About how many bytes of the frames sent have not left. The sender has to keep this within a bound."""
        ...

    @property
    def unsent(self) -> Sequence[bytes]:
        """After the link broke: the frames of which surely no byte has left, as they were sent. They can be sent elsewhere."""
        ...

    async def drain(self) -> None:
        """Wait until the peer has read so much that few bytes are unsent. Raises LinkBroken if the link breaks first."""
        ...

    async def aclose(self) -> None:
        """Send the queued frames, within a bounded time, then close. Idempotent; never raises."""
        ...


class RequestLink(Protocol):
    """The link of one HTTP request, whose message goes to a RequestHandler. It may end without a final frame.

    Where its client takes only the answer (`info.answer_only`), no other frame may be sent.
    """

    @property
    def info(self) -> LinkInfo:
        """What is known of the link."""
        ...

    def send(self, frame: bytes, *, event: str = "", final: bool = False) -> None:
        """See Link.send. A final frame is written at once, and ends the link."""
        ...

    @property
    def unsent_bytes(self) -> int:
        """See Link.unsent_bytes."""
        ...

    def accept(self) -> None:
        """End the link with 202 Accepted (200 for the end of a session) and no body."""
        ...

    def establish(self, token: str) -> None:
        """Have the answer carry this Mcp-Session-Id; to be called before anything is sent."""
        ...

    def finish(self) -> None:
        """End the stream without a response frame: the exchange was cancelled, or the session's own stream is over."""
        ...

    async def drain(self) -> None:
        """See Link.drain."""
        ...


class RequestHandler(Protocol):
    """Handles a listener's HTTP requests by plain calls: a task or a future for every POST would cost more than the POST.

    `on_request` comes first for each link; `on_waiting` may follow, more than once. Then either the handler ends the link (by a
    final frame, `accept` or `finish`), or `on_disconnect` comes once.
    """

    def on_request(self, link: RequestLink, message: Message | None) -> None:
        """A complete request was admitted: a POST with its message; an event stream or the end of a session with None."""
        ...

    def on_waiting(self, link: RequestLink) -> None:
        """The client of an initialize has long received nothing: `establish`, then `send(b"")`, open a stream for it."""
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
        """The address that clients connect to, with the port that was picked for port 0."""
        ...

    async def aclose(self) -> None:
        """Stop accepting, close the links, free the address. Idempotent."""
        ...

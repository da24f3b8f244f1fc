"""The link family's contract: one connection that carries JSON-RPC frames, to a client or to an MCP server.

A link moves whole frames and nothing else: it never retries, logs or looks into them further than its transport asks. Errors
come as a triple: LinkClosed (we closed), EndOfLink (the peer did), LinkBroken (the world did). tests/contract/test_links.py
holds every member to this page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Protocol

import msgspec

from fabric.jsonrpc import Message

DEFAULT_FRAME_BYTES = 16 * 1024 * 1024
"""Longest frame accepted, unless told otherwise."""


class Purpose(StrEnum):
    """What a link is for. All but a conversation are one HTTP request each."""

    CONVERSATION = "conversation"  # a duplex that lasts: stdio, a socket
    EXCHANGE = "exchange"  # a POST: one message in; an answer, an acceptance or a stream of messages out
    STREAM = "stream"  # a GET of a legacy session: nothing in, the session's own messages out
    FAREWELL = "farewell"  # a DELETE of a legacy session: nothing in, an acceptance out


class LinkInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a link when it opens.

    id: unique in this process. transport: `stdio`, `http`, `memory`. server: the MCP server its client asked for. principal:
    who calls, empty for nobody in particular. peer: the other end, for people. session, version, last_event, params: of an
    HTTP request, its Mcp-Session-Id, MCP-Protocol-Version, Last-Event-ID and decoded Mcp-Param-* headers by lower-case name.
    trace: its traceparent header, unchecked.
    """

    id: str
    transport: str
    purpose: Purpose = Purpose.CONVERSATION
    server: str = ""
    principal: str = ""
    peer: str = ""
    session: str = ""
    version: str = ""
    last_event: str = ""
    params: tuple[tuple[str, str], ...] = ()
    trace: str = ""


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
        a short link, else ignored. Raises LinkClosed or LinkBroken after the end, LinkOverflow when a slow peer has left more
        than the limit unread (and the link is broken then).
        """
        ...

    async def drain(self) -> None:
        """Wait until the peer has taken enough that little is queued. Raises LinkBroken if it goes first."""
        ...

    async def aclose(self) -> None:
        """Send what is queued, within a bounded time, then close. Idempotent; never raises."""
        ...


class RequestLink(Protocol):
    """The link of one HTTP request. Its message is told (see Reception), not received; its end may be no final frame."""

    @property
    def info(self) -> LinkInfo:
        """What is known of the link."""
        ...

    def send(self, frame: bytes, *, event: str = "", final: bool = False) -> None:
        """See Link.send. What is final is written at once, and the link has ended."""
        ...

    def accept(self) -> None:
        """End it with 202 Accepted (200 for a farewell) and no body."""
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


class Reception(Protocol):
    """Whom a listener tells of HTTP requests, one call each: a task or a future for every POST would cost more than the POST.

    For each link `requested` comes first. Then either the receiver ends it (a final frame, `accept` or `finish`), or `left`
    comes once.
    """

    def requested(self, link: RequestLink, message: Message | None) -> None:
        """A whole request that passed the door's rules: an exchange with its message, a stream or a farewell with None."""
        ...

    def left(self, link: RequestLink) -> None:
        """Its client has gone, or the door has closed, before it was ended. Sending raises LinkBroken or LinkClosed."""
        ...


Handler = Callable[[Link], Awaitable[None]]
"""What a listener of conversations does with each: it runs until the link has ended, and its caller closes the link."""


class Listener(Protocol):
    """Accepts links until closed."""

    @property
    def address(self) -> str:
        """Where it listens, for people and for clients: the real port where 0 was asked for."""
        ...

    async def aclose(self) -> None:
        """Stop accepting, close the links, free the address. Idempotent."""
        ...

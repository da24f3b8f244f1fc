"""The link family's contract: one connection that carries JSON-RPC frames, to a client or to an MCP server.

A link moves whole frames and nothing else: it never retries, logs or looks into them further than its transport asks. Errors
come as a triple: LinkClosed (we closed), EndOfLink (the peer did), LinkBroken (the world did). tests/contract/test_links.py
holds every member to this page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from itertools import count
from typing import Protocol, TypeVar

import msgspec

from fabric.caller import NOBODY, Caller
from fabric.mcp.jsonrpc import Message
from fabric.security.tls import Trust

T = TypeVar("T")

DEFAULT_FRAME_BYTES = 16 * 1024 * 1024
"""Longest frame accepted, unless told otherwise."""
DEFAULT_STALL_TIMEOUT = 60.0
"""Seconds for which a peer may take nothing of what waits for it, unless told otherwise."""


_numbers = count(1)


def minted_id(transport: str) -> str:
    """An id for a link that no other of this process has, whichever listener it came in by."""
    return f"{transport}-{next(_numbers)}"


class Purpose(StrEnum):
    """What a link is for. All but a conversation are one HTTP request each."""

    CONVERSATION = "conversation"  # a duplex that lasts: stdio, a socket
    EXCHANGE = "exchange"  # a POST: one message in; an answer, an acceptance or a stream of messages out
    STREAM = "stream"  # a GET of a legacy session: nothing in, the session's own messages out
    FAREWELL = "farewell"  # a DELETE of a legacy session: nothing in, an acceptance out


class LinkInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a link when it opens.

    id: unique in this process. transport: `stdio`, `http`, `tcp` and so on. server: the MCP server that its client asked for.
    principal: who calls, empty for nobody in particular. peer: the other end, for people. caller: who that is, as far as the
    transport tells. session, version, last_event, params: of an HTTP request, its Mcp-Session-Id, MCP-Protocol-Version,
    Last-Event-ID and decoded Mcp-Param-* headers by lower-case name. trace: its traceparent header, unchecked. answer_only: its
    client takes the answer, and nothing that would come before it.
    """

    id: str
    transport: str
    purpose: Purpose = Purpose.CONVERSATION
    server: str = ""
    principal: str = ""
    peer: str = ""
    caller: Caller = NOBODY
    session: str = ""
    version: str = ""
    last_event: str = ""
    params: tuple[tuple[str, str], ...] = ()
    trace: str = ""
    answer_only: bool = False


class Redial(Protocol):
    """Calls `connect` until it opens something; fabric/runtime/retry.py is one."""

    async def __call__(self, connect: Callable[[], Awaitable[T]], /) -> T:
        """What it returns."""
        ...


class ConnectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to open a link to an MCP server; one record for every transport.

    headers: sent with the request that opens the link, where there is one. timeout: seconds to reach the server, TLS
    included. answer_timeout: seconds that a server which was reached has to open the link: to answer a WebSocket's
    handshake, or to say where messages are posted to. trust: how to judge its certificate, where there is one.
    stall_timeout: seconds for which a server may take nothing of what waits for it. compression: ask for it, where the
    transport knows it. redial: where a link connects as it goes, what tries a connection again that could not be made.
    connections, idle: where a link is many requests, most connections to one server at once, and seconds after which one
    that nobody uses is closed. Many servers close theirs after 5 s, and of a request that is on its way by then nobody
    knows more. shown: the server's URL as people may read it; empty for what LinkUrl.where shows of it.
    """

    headers: tuple[tuple[str, str], ...] = ()
    timeout: float = 10.0
    answer_timeout: float = 10.0
    trust: Trust = Trust()
    max_frame_bytes: int = DEFAULT_FRAME_BYTES
    stall_timeout: float = DEFAULT_STALL_TIMEOUT
    compression: bool = False
    redial: Redial | None = None
    connections: int = 192
    idle: float = 4.0
    shown: str = ""

    def __repr__(self) -> str:
        return f"ConnectSettings({len(self.headers)} headers, timeout={self.timeout:g})"  # their values may be secrets


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
    """The link of one HTTP request. Its message is told (see Reception), not received; its end may be no final frame.

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

    For each link `requested` comes first; `awaited` may follow, more than once. Then either the receiver ends it (a final
    frame, `accept` or `finish`), or `left` comes once.
    """

    def requested(self, link: RequestLink, message: Message | None) -> None:
        """A whole request that passed the door's rules: an exchange with its message, a stream or a farewell with None."""
        ...

    def awaited(self, link: RequestLink) -> None:
        """The client of an initialize has heard nothing for long: `establish`, then `send(b"")`, give it a stream."""
        ...

    def left(self, link: RequestLink) -> None:
        """Its client has gone, or the door has closed, before it was ended. Sending raises LinkBroken or LinkClosed."""
        ...


Handler = Callable[[Link], Awaitable[object]]
"""What a listener of conversations does with each: it runs until the link has ended, and its caller closes the link."""


class Connect(Protocol):
    """What the module of each transport to MCP servers calls `connect`."""

    async def __call__(self, url: str, settings: ConnectSettings, *, id: str) -> Link:
        """Open a conversation with the server at `url`. Raises LinkRefused and its kinds, LinkTimeout, ConfigError."""
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

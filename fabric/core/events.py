"""Events: what has happened, in the past tense. A core gets each with the time at which it was noticed.

`link` is the id of a client's link, `child` that of a process of an MCP server, `server` its name.
"""

from __future__ import annotations

import msgspec

from fabric.caller import UNKNOWN_CALLER, Caller
from fabric.envelope import Envelope, Pack
from fabric.mcp.jsonrpc import Message


class SessionRef(msgspec.Struct, frozen=True, gc=False):
    """A legacy session as its token names it; the token has been checked."""

    session: str
    """The id of the session."""
    owner: str
    """The bridge that owned it first."""
    server: str
    principal: str
    """Who opened it."""
    version: str = ""
    """The revision that it has negotiated."""


# ---------------------------------------------------------------- from clients
class LinkOpened(msgspec.Struct, frozen=True, gc=False):
    """A client opened a long link to `server`."""

    link: str
    server: str
    principal: str
    transport: str
    caller: Caller = UNKNOWN_CALLER


class FrameArrived(msgspec.Struct, frozen=True, gc=False):
    """A client sent a frame on its long link."""

    link: str
    message: Message


class RequestPosted(msgspec.Struct, frozen=True, gc=False):
    """A client posted a frame over HTTP; it may be a batch."""

    link: str
    server: str
    principal: str
    message: Message
    session: SessionRef | None
    """The session that its header names; None for none."""
    params: tuple[tuple[str, str], ...]
    """The decoded Mcp-Param-* headers, by lower-case name."""
    transport: str
    trace: str = ""
    """The traceparent header."""
    caller: Caller = UNKNOWN_CALLER
    answer_only: bool = False
    """See LinkInfo.answer_only."""


class InputEnded(msgspec.Struct, frozen=True, gc=False):
    """A client has ended its input on a long link, and still reads: `LinkIdle` follows once all its requests are answered."""

    link: str


class InputLapsed(msgspec.Struct, frozen=True, gc=False):
    """The time for answers to a client that has ended its input is over: what is open on its link is answered now."""

    link: str


class AnswerAwaited(msgspec.Struct, frozen=True, gc=False):
    """The answer to a posted initialize takes long, so that its client, which takes a stream, should get the stream's start."""

    link: str


class StreamOpened(msgspec.Struct, frozen=True, gc=False):
    """A client opened its session's own stream over HTTP."""

    link: str
    session: SessionRef
    last_event: str
    """The Last-Event-ID header; empty for none."""


class SessionEnded(msgspec.Struct, frozen=True, gc=False):
    """A client ended its session over HTTP."""

    link: str
    session: SessionRef


class LinkBehind(msgspec.Struct, frozen=True, gc=False):
    """A client reads less than is sent on its link; what is sent from now on waits behind what it has not read."""

    link: str
    unsent_bytes: int
    """How many bytes it has not read."""


class LinkCaughtUp(msgspec.Struct, frozen=True, gc=False):
    """A client that was behind has read nearly all that was sent."""

    link: str


class LinkGone(msgspec.Struct, frozen=True, gc=False):
    """A client's link, long or of one HTTP request, is gone."""

    link: str


# ---------------------------------------------------------------- from the broker
class PackArrived(msgspec.Struct, frozen=True, gc=False):
    """A pack came into our inbox or on a topic."""

    pack: Pack


class WorkArrived(msgspec.Struct, frozen=True, gc=False):
    """A request without an owner came from a server's queue."""

    source: str
    """The incarnation of the edge that sent it."""
    envelope: Envelope
    delivery: int
    """The number of the delivery, for Ack and Nack; 0 if the broker keeps nothing."""


class PackNotConfirmed(msgspec.Struct, frozen=True, gc=False):
    """The broker did not confirm a pack."""

    pack: Pack
    topic: bool
    """Whether it was published to a topic."""
    sent: bool
    """Whether it may have arrived all the same."""
    reason: str
    """For people."""


class BrokerConnected(msgspec.Struct, frozen=True, gc=False):
    """The broker is connected, for the first time or again."""

    keeps: bool
    """Whether it keeps work until that is acknowledged."""
    largest_message_bytes: int
    """The longest message that it takes."""


class BrokerLost(msgspec.Struct, frozen=True, gc=False):
    """The connection to the broker is lost."""

    reason: str
    """For people."""


# ---------------------------------------------------------------- from MCP servers
class ServerStarted(msgspec.Struct, frozen=True, gc=False):
    """A process that was to be started runs, and its link is open."""

    child: str


class ServerFrame(msgspec.Struct, frozen=True, gc=False):
    """An MCP server wrote a frame."""

    child: str
    message: Message


class ServerBehind(msgspec.Struct, frozen=True, gc=False):
    """A process reads less than is written to it; what is written from now on waits behind what it has not read."""

    child: str
    unread_bytes: int
    """How many bytes it has not read."""


class ServerCaughtUp(msgspec.Struct, frozen=True, gc=False):
    """A process that was behind has read nearly all that was written to it."""

    child: str


class ServerExited(msgspec.Struct, frozen=True, gc=False):
    """An MCP server's process or link ended by itself, or could not be started or opened."""

    child: str
    reason: str
    """For people."""
    refused: bool = False
    """Whether the start failed, so that another would fare no better."""
    unsent: frozenset[str] = frozenset()
    """The ids, as the server would have seen them, of the requests of which no byte has reached it."""


class ServerChecked(msgspec.Struct, frozen=True, gc=False):
    """The command that checks a server has ended."""

    server: str
    reason: str
    """Why the check failed; empty if it passed."""


# ---------------------------------------------------------------- from the operator
class DrainStarted(msgspec.Struct, frozen=True, gc=False):
    """The process is to stop: it takes no new work."""


class Listening(msgspec.Struct, frozen=True, gc=False):
    """Clients can reach an edge; its announcements say where."""

    address: str
    """A URL, or what stands for one where no client dials: `stdio`, `call`."""


class RestartAsked(msgspec.Struct, frozen=True, gc=False):
    """A person wants the server's processes replaced, at every bridge."""

    server: str
    token: str
    """Names this request, and no other ever."""


Event = (
    LinkOpened
    | FrameArrived
    | RequestPosted
    | AnswerAwaited
    | InputEnded
    | InputLapsed
    | StreamOpened
    | SessionEnded
    | LinkBehind
    | LinkCaughtUp
    | LinkGone
    | PackArrived
    | WorkArrived
    | PackNotConfirmed
    | BrokerConnected
    | BrokerLost
    | ServerStarted
    | ServerFrame
    | ServerBehind
    | ServerCaughtUp
    | ServerExited
    | ServerChecked
    | DrainStarted
    | Listening
    | RestartAsked
)

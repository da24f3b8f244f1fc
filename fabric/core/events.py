"""Events: what has happened, in the past tense. A core is told of each with the time it was noticed."""

from __future__ import annotations

import msgspec

from fabric.caller import UNKNOWN_CALLER, Caller
from fabric.envelope import Envelope, Pack
from fabric.mcp.jsonrpc import Message


class SessionRef(msgspec.Struct, frozen=True, gc=False):
    """A legacy session as its token names it, already checked."""

    session: str
    owner: str
    """The bridge that owned it first."""
    server: str
    principal: str
    """Whose it is."""
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
    """A client posted a frame over HTTP; it may be a batch.

    params: the decoded Mcp-Param-* headers by lower-case name. trace: its traceparent. answer_only: see LinkInfo.
    """

    link: str
    server: str
    principal: str
    message: Message
    session: SessionRef | None
    params: tuple[tuple[str, str], ...]
    transport: str
    trace: str = ""
    caller: Caller = UNKNOWN_CALLER
    answer_only: bool = False


class InputEnded(msgspec.Struct, frozen=True, gc=False):
    """A client has ended its input on a long link, and still reads: `LinkIdle` follows once all that it asked is answered."""

    link: str


class InputLapsed(msgspec.Struct, frozen=True, gc=False):
    """A client had ended its input, and was waited for as long as is due: what is open on its link is to be answered now."""

    link: str


class AnswerAwaited(msgspec.Struct, frozen=True, gc=False):
    """The answer to a posted initialize takes so long that its client should hear something, and it takes a stream."""

    link: str


class StreamOpened(msgspec.Struct, frozen=True, gc=False):
    """A client opened its session's own stream over HTTP."""

    link: str
    session: SessionRef
    last_event: str


class SessionEnded(msgspec.Struct, frozen=True, gc=False):
    """A client ended its session over HTTP."""

    link: str
    session: SessionRef


class LinkBehind(msgspec.Struct, frozen=True, gc=False):
    """A client leaves so many bytes untaken of what was sent on its link; what is sent from now on waits behind them."""

    link: str
    unsent_bytes: int


class LinkCaughtUp(msgspec.Struct, frozen=True, gc=False):
    """A client that was behind has taken nearly all that was sent."""

    link: str


class LinkGone(msgspec.Struct, frozen=True, gc=False):
    """A client's link, long or of one HTTP request, is gone."""

    link: str


# ---------------------------------------------------------------- from the broker
class PackArrived(msgspec.Struct, frozen=True, gc=False):
    """A pack came into our inbox or on a topic."""

    pack: Pack


class WorkArrived(msgspec.Struct, frozen=True, gc=False):
    """A request without an owner came from a server's queue. delivery: what to ack, 0 where the broker keeps nothing."""

    source: str
    envelope: Envelope
    delivery: int


class PackNotConfirmed(msgspec.Struct, frozen=True, gc=False):
    """The broker did not confirm a pack. sent: it may have arrived all the same."""

    pack: Pack
    topic: bool
    sent: bool
    reason: str


class BrokerConnected(msgspec.Struct, frozen=True, gc=False):
    """The broker is there, for the first time or again. keeps: it keeps work until acked. largest_message_bytes: it takes."""

    keeps: bool
    largest_message_bytes: int


class BrokerLost(msgspec.Struct, frozen=True, gc=False):
    """The connection to the broker is gone."""

    reason: str


# ---------------------------------------------------------------- from MCP servers
class ServerStarted(msgspec.Struct, frozen=True, gc=False):
    """The process asked for runs and its link is open."""

    child: str


class ServerFrame(msgspec.Struct, frozen=True, gc=False):
    """An MCP server wrote a frame."""

    child: str
    message: Message


class ServerBehind(msgspec.Struct, frozen=True, gc=False):
    """A process leaves unread so many bytes of what was written to it; what is written from now on waits behind them."""

    child: str
    unread_bytes: int


class ServerCaughtUp(msgspec.Struct, frozen=True, gc=False):
    """A process that was behind has read nearly all that was written to it."""

    child: str


class ServerExited(msgspec.Struct, frozen=True, gc=False):
    """An MCP server's process or link ended by itself, or was not started. reason: for people. refused: nobody is there.

    unsent: ids, as the server would have seen them, of the requests of which no byte has reached it.
    """

    child: str
    reason: str
    refused: bool = False
    unsent: frozenset[str] = frozenset()


class ServerChecked(msgspec.Struct, frozen=True, gc=False):
    """The command that checks a server has ended. reason: why it failed, empty if it passed."""

    server: str
    reason: str


# ---------------------------------------------------------------- from the operator
class DrainStarted(msgspec.Struct, frozen=True, gc=False):
    """The process is to stop: take nothing new."""


class Listening(msgspec.Struct, frozen=True, gc=False):
    """An edge can be reached by clients; its announcements say where."""

    address: str
    """A URL, or what stands for one where no client dials: `stdio`, `call`."""


class RestartAsked(msgspec.Struct, frozen=True, gc=False):
    """A person wants the server's processes replaced, at every bridge. token: of this request, unique for ever."""

    server: str
    token: str


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

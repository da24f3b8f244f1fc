"""Effects: what a core wants done, in the imperative. The runtime does them in order, and decides nothing."""

from __future__ import annotations

import msgspec

from fabric.addressing import Channel
from fabric.core.telemetry_record import Record
from fabric.envelope import Pack


class Publish(msgspec.Struct, frozen=True, gc=False):
    """Hand a pack to the broker."""

    channel: Channel
    pack: Pack


class Ack(msgspec.Struct, frozen=True, gc=False):
    """The broker may forget the work delivery with this number."""

    delivery: int


class Nack(msgspec.Struct, frozen=True, gc=False):
    """The broker shall give the work delivery with this number to another."""

    delivery: int


class Send(msgspec.Struct, frozen=True, gc=False):
    """Write a frame to a client's link. event: its id in a resumable stream. final: it is the link's response."""

    link: str
    frame: bytes
    event: str = ""
    final: bool = False


class Accept(msgspec.Struct, frozen=True, gc=False):
    """Tell the client of an HTTP request that its message was taken."""

    link: str


class Establish(msgspec.Struct, frozen=True, gc=False):
    """What leaves on this HTTP link opens a session: seal its token. `opening` and `answer` are the initialize frames.

    answer: empty where the token has to leave before there is one.
    """

    link: str
    session: str
    owner: str
    server: str
    principal: str
    opening: bytes
    answer: bytes = b""


class Finish(msgspec.Struct, frozen=True, gc=False):
    """End an HTTP stream that gets no response."""

    link: str


class CloseLink(msgspec.Struct, frozen=True, gc=False):
    """Close a client's long link; `reason` is for people."""

    link: str
    reason: str


class LinkIdle(msgspec.Struct, frozen=True, gc=False):
    """All requests on a long link whose client has ended its input are answered."""

    link: str


class HoldLink(msgspec.Struct, frozen=True, gc=False):
    """Read nothing more from a client's long link, until ReleaseLink."""

    link: str


class ReleaseLink(msgspec.Struct, frozen=True, gc=False):
    """Read on from a link that was held."""

    link: str


class Skipped(msgspec.Struct, frozen=True, gc=False):
    """So many messages were not sent on a link, because its client was far behind and their server could not wait for it."""

    link: str
    count: int


class StartServer(msgspec.Struct, frozen=True, gc=False):
    """Start a process of an MCP server, or connect to one; the outcome comes as an event that bears `child`."""

    server: str
    child: str


class CheckServer(msgspec.Struct, frozen=True, gc=False):
    """Run the command that checks this server; its outcome comes as an event."""

    server: str


class Complain(msgspec.Struct, frozen=True, gc=False):
    """Say what is wrong with this server, unless that has been said."""

    server: str
    reason: str


class Write(msgspec.Struct, frozen=True, gc=False):
    """Write a frame to an MCP server."""

    child: str
    frame: bytes


class HoldServer(msgspec.Struct, frozen=True, gc=False):
    """Read nothing more from a process, until ReleaseServer."""

    child: str


class ReleaseServer(msgspec.Struct, frozen=True, gc=False):
    """Read on from a process that was held."""

    child: str


class StopServer(msgspec.Struct, frozen=True, gc=False):
    """Stop an MCP server's process; nothing more is heard of it."""

    child: str


class Consume(msgspec.Struct, frozen=True, gc=False):
    """Begin to take work of this server from the broker."""

    server: str


class Pause(msgspec.Struct, frozen=True, gc=False):
    """Take no more work of this server from the broker."""

    server: str


class Completed(msgspec.Struct, frozen=True, gc=False):
    """One exchange is over on this side: what is known of it, for tracing and metrics."""

    record: Record


class StatusChanged(msgspec.Struct, frozen=True, gc=False):
    """Something that others wait for may have come: look at the snapshot or the announcements again.

    It follows a change of what these say of the broker, of `settled` and `sure`, of the workers that are there and the servers
    they name, or of the health of this bridge's own servers.
    """


class Idle(msgspec.Struct, frozen=True, gc=False):
    """A bridge that drains may leave without loss: no job is open, and its peers have acknowledged everything. Comes once."""


class Unasked(msgspec.Struct, frozen=True, gc=False):
    """The message that a process has just written answers no request that is open, or is a ping: nobody waits for it."""

    child: str


class Conflict(msgspec.Struct, frozen=True, gc=False):
    """The fabric as a whole is set up wrongly, as `reason` says to a person: this process must not serve."""

    reason: str


Effect = (
    Publish
    | Ack
    | Nack
    | Send
    | Accept
    | Establish
    | Finish
    | CloseLink
    | LinkIdle
    | HoldLink
    | ReleaseLink
    | Skipped
    | StartServer
    | CheckServer
    | Complain
    | Write
    | HoldServer
    | ReleaseServer
    | StopServer
    | Consume
    | Pause
    | Completed
    | StatusChanged
    | Idle
    | Unasked
    | Conflict
)

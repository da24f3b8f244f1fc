"""Effects: what a core wants done, in the imperative. The runtime performs them in order, and decides nothing.

`link` is the id of a client's link, `child` that of a process of an MCP server, `server` its name.
"""

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
    """Acknowledge the work delivery with this number to the broker, which may forget it."""

    delivery: int


class Nack(msgspec.Struct, frozen=True, gc=False):
    """Return the work delivery with this number to the broker, which gives it to another bridge."""

    delivery: int


class Send(msgspec.Struct, frozen=True, gc=False):
    """Write a frame to a client's link."""

    link: str
    frame: bytes
    event: str = ""
    """The frame's event id in a resumable stream; empty for none."""
    final: bool = False
    """Whether it is the response that ends the link of an HTTP request."""


class Accept(msgspec.Struct, frozen=True, gc=False):
    """Tell the client of an HTTP request that its message was taken."""

    link: str


class Establish(msgspec.Struct, frozen=True, gc=False):
    """Seal the token of a session, to be sent with the response on this HTTP link."""

    link: str
    session: str
    """The id of the session: that of the exchange of its initialize."""
    owner: str
    """The incarnation of the bridge that owns the session."""
    server: str
    principal: str
    """Who opened it."""
    opening: bytes
    """The client's initialize request."""
    answer: bytes = b""
    """The response to it; empty if the token has to be sent before there is one."""


class Finish(msgspec.Struct, frozen=True, gc=False):
    """End an HTTP stream that gets no response."""

    link: str


class CloseLink(msgspec.Struct, frozen=True, gc=False):
    """Close a client's long link."""

    link: str
    reason: str
    """For people."""


class LinkIdle(msgspec.Struct, frozen=True, gc=False):
    """Report that all requests on a long link whose client has ended its input are answered."""

    link: str


class HoldLink(msgspec.Struct, frozen=True, gc=False):
    """Read nothing more from a client's long link, until ReleaseLink."""

    link: str


class ReleaseLink(msgspec.Struct, frozen=True, gc=False):
    """Read on from a link that was held."""

    link: str


class Skipped(msgspec.Struct, frozen=True, gc=False):
    """Report messages that were not sent on a link: its client was far behind, and their server could not wait for it."""

    link: str
    count: int
    """How many messages."""


class StartServer(msgspec.Struct, frozen=True, gc=False):
    """Start a process of an MCP server, or connect to one; ServerStarted or ServerExited follows."""

    server: str
    child: str


class CheckServer(msgspec.Struct, frozen=True, gc=False):
    """Run the command that checks this server; ServerChecked follows."""

    server: str


class Complain(msgspec.Struct, frozen=True, gc=False):
    """Log what is wrong with this server, unless that is logged already."""

    server: str
    reason: str
    """For people."""


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
    """Stop an MCP server's process; no event of it follows."""

    child: str


class Consume(msgspec.Struct, frozen=True, gc=False):
    """Begin to take work of this server from the broker."""

    server: str


class Pause(msgspec.Struct, frozen=True, gc=False):
    """Take no more work of this server from the broker."""

    server: str


class Completed(msgspec.Struct, frozen=True, gc=False):
    """Report an exchange that is over on this side, for tracing and metrics."""

    record: Record


class StatusChanged(msgspec.Struct, frozen=True, gc=False):
    """Wake those who wait for a change of the snapshot or the announcements.

    It follows a change of the connection to the broker, of `settled` or `sure`, of the known workers or the servers that they
    name, or of the health of this bridge's own servers.
    """


class Idle(msgspec.Struct, frozen=True, gc=False):
    """Report that a bridge which drains may leave without loss: no job is open, and peers have acknowledged all. Comes once."""


class Unasked(msgspec.Struct, frozen=True, gc=False):
    """Report that nobody waits for the message that a process has just written: an answer to no open request, or a ping."""

    child: str


class Conflict(msgspec.Struct, frozen=True, gc=False):
    """Stop this process: the fabric is set up wrongly, so that it must not serve."""

    reason: str
    """What is wrong, for people."""


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

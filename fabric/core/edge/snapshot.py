"""The state of an edge at one moment: what it holds for its clients, and how much work is under way at each server."""

from __future__ import annotations

import msgspec

from fabric.core.peers.snapshot import MemberSnapshot


class ServerWork(msgspec.Struct, frozen=True, kw_only=True):
    """The open exchanges of one server."""

    in_flight: int = 0
    """Exchanges that a bridge has."""
    queued: int = 0
    """Exchanges that no bridge has taken yet, or that were given back."""


class EdgeSnapshot(MemberSnapshot, frozen=True, kw_only=True):
    """The state of an edge. All counts but `finished` and those in MemberSnapshot are zero once nobody uses it."""

    servers: dict[str, ServerWork]
    """The servers with open exchanges, and those that had some, by name."""
    finished: dict[tuple[str, str], int]
    """Exchanges that have ended since the edge began, by server and outcome: `ok`, `error` (of the server), `cancelled`, or the
    reason of a fault. A result that says that its tool failed is `ok`."""
    unanswered: int
    """Exchanges whose clients wait for an answer, not only for the events of a stream."""
    exchanges: int
    """Open exchanges: requests, streams that are read over HTTP, and tool lists that the edge itself fetches."""
    returned: int
    """Entries of the list of exchanges that came back for want of room; some of these exchanges have ended since."""
    deadlines: int
    """Deadlines of exchanges."""
    stale_deadlines: int
    """Deadlines that were cleared or moved and still take memory: at most 64, and four for each that is set."""
    http_requests: int
    """HTTP requests that are not answered, with streams and without batches."""
    batches: int
    """Batches over HTTP that are not answered in full."""
    batch_members: int
    """Messages of these batches that are not answered."""
    requests_awaiting_owner: int
    """HTTP requests that wait until it is known whether the owner of their session lives."""
    tool_lists: int
    """Lists of tools that are being fetched."""
    calls_awaiting_tools: int
    """Calls that wait for such a list."""
    long_links: int
    """Long links that are open."""
    sessions: int
    """Long links that have a session."""
    on_long_links: int
    """Requests that are not answered on long links."""
    behind_initialize: int
    """Frames that wait on long links until an initialize is answered."""
    crowded_links: int
    """Long links that are not read because the lane to their bridge is full."""
    slow_links: int
    """Links whose clients read less than they are sent."""
    slow_holds: int
    """Sessions, or parts of them, that bridges hold for slow links."""
    kept_notices: int
    """Notices that were passed over on slow links and are to be sent again."""

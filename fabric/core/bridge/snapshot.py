"""What a bridge shows of itself at one moment: its servers with their processes, and what it holds for edges and clients."""

from __future__ import annotations

import msgspec

from fabric.core.peers.announcement import Health
from fabric.core.peers.snapshot import MemberSnapshot


class ServerProcesses(msgspec.Struct, frozen=True, kw_only=True):
    """One server and its processes."""

    health: Health
    reason: str
    """Why it is not healthy, or for how long it has been starting; for people."""
    eras: tuple[str, ...]
    """The eras that it speaks; none where that is not known yet."""
    processes: int
    """Its processes, or connections to it; each may count as several of the following."""
    starting: int
    """Those that do not run yet."""
    warm: int
    """Those that wait for a session."""
    in_sessions: int
    """Those that a session has to itself."""
    retired: int
    """Those of before a restart that finish their work."""
    behind: int
    """Those that read less than is written to them."""
    unread_bytes: int
    """Bytes that wait to be read by those that are behind or starting."""
    slots: int
    """The work of its queue that may be open here."""
    slots_taken: int
    """The work of its queue that is open here."""
    awaiting_process: int
    """Jobs that wait for a shared process to be started."""
    awaiting_turn: int
    """Jobs that wait for another one in their process to end."""
    running: int
    """Jobs that were written to a process and are not answered."""
    unanswered_by_clients: int
    """Requests of these processes that await the answer of their session's client."""
    unwritten: int
    """Frames that wait for a process to start."""


class BridgeSnapshot(MemberSnapshot, frozen=True, kw_only=True):
    """A bridge at one moment. All but its servers and the fields of MemberSnapshot is zero once nobody uses it."""

    draining: bool
    """Whether it takes nothing new because it is to leave."""
    servers: dict[str, ServerProcesses]
    """Every server that it serves, by name."""
    processes: int
    """The processes of all servers."""
    jobs: int
    """Open jobs."""
    untold: int
    """Jobs whose edge was not told yet that they were taken."""
    deliveries: int
    """Deliveries of the broker, and answers, that are kept until an edge has acknowledged what was said of them."""
    unacknowledged_answers: int
    """Exchanges whose edge has not acknowledged the answer."""
    early_cancels: int
    """Cancels that have overtaken the request that they mean."""
    timers: int
    """Deadlines of servers that are being started."""
    sessions: int
    """Legacy sessions."""
    streams: int
    """Streams of requests that clients may resume."""
    kept_messages: int
    """Messages that are kept on these streams and those of sessions."""
    session_requests: int
    """Requests that are open in sessions."""
    session_holds: int
    """Reasons for which processes of sessions are not read."""
    crowded_sessions: int
    """Sessions whose process is not read because the lane to their edge is full."""
    openings: int
    """New sessions that lately found no process."""

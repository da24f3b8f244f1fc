"""The state of a bridge at one moment: its servers with their processes, and what it holds for edges and clients."""

from __future__ import annotations

import msgspec

from fabric.core.peers.announcement import Health
from fabric.core.peers.snapshot import MemberSnapshot


class ServerProcesses(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one server and its processes."""

    health: Health
    reason: str
    """Why it is not healthy, or how long it has been starting; for people."""
    eras: tuple[str, ...]
    """The eras that it speaks; empty if they are not known yet."""
    processes: int
    """Its processes, or connections to it. A process may count in several of the next fields."""
    starting: int
    """Processes that do not run yet."""
    warm: int
    """Processes that wait for a session."""
    in_sessions: int
    """Processes that a session has to itself."""
    retired: int
    """Processes from before a restart that finish their work."""
    behind: int
    """Processes that read less than is written to them."""
    unread_bytes: int
    """Bytes that wait for the processes that are behind or starting."""
    slots: int
    """How many jobs from its queue may be open here."""
    slots_taken: int
    """How many jobs from its queue are open here."""
    awaiting_process: int
    """Jobs that wait for a shared process to be started."""
    awaiting_turn: int
    """Jobs that wait until another one in their process ends."""
    running: int
    """Jobs that were written to a process and are not answered."""
    unanswered_by_clients: int
    """Requests of these processes that await the answer of their session's client."""
    unwritten: int
    """Frames that wait for a process to start."""
    initialized: int
    """Processes of a legacy server that the bridge has initialized for modern clients."""
    questions: int
    """Questions of these processes that await the input of a client."""
    listeners: int
    """Modern clients that listen for changes at these processes."""
    own_requests: int
    """Requests of the bridge itself that these processes have not answered."""


class BridgeSnapshot(MemberSnapshot, frozen=True, kw_only=True):
    """The state of a bridge.

    All counts but `finished` and those of servers, processes and MemberSnapshot are zero once nobody uses it.
    """

    draining: bool
    """Whether it takes no new work, because the process is to stop."""
    servers: dict[str, ServerProcesses]
    """Every server that it serves, by name."""
    finished: dict[tuple[str, str], int]
    """Jobs that have ended since the bridge began, by server and outcome: `ok`, `error` (of the server), `returned` (to the
    edge), `cancelled`, or the reason of a fault. A result that says that its tool failed is `ok`."""
    processes: int
    """The processes of all servers."""
    jobs: int
    """Open jobs."""
    untold: int
    """Jobs whose edge has not been sent `taken`."""
    deliveries: int
    """Deliveries of the broker, and answers, that are kept until an edge has acknowledged the message about them."""
    unacknowledged_answers: int
    """Exchanges whose edge has not acknowledged the answer."""
    early_cancels: int
    """Cancels that have overtaken the request that they cancel."""
    timers: int
    """Deadlines of servers that are being started."""
    sessions: int
    """Legacy sessions."""
    streams: int
    """Streams of requests that clients may resume."""
    kept_messages: int
    """Messages that are kept on these streams, and on the sessions' own."""
    session_requests: int
    """Requests that are open in sessions."""
    session_holds: int
    """Reasons why processes of sessions are not read."""
    crowded_sessions: int
    """Sessions whose process is not read because the lane to their edge is full."""
    openings: int
    """New sessions and modern calls that got no process in the last seconds."""

"""Flow control of sessions at their bridge: while one end of a session falls behind, nothing more is read from the other.

If a client reads less than its session's process writes, or an edge acknowledges less than it is sent, the process is held. If
a process reads less than its client writes, the client's long link is held. Nobody else has to wait: a session's process serves
one client, and a process that clients share is never held (slow_links.py). A hold ends by a release, or with its edge.
"""

from __future__ import annotations

from collections.abc import Iterable

from fabric.core.bridge.processes.registry import ProcessRegistry
from fabric.core.bridge.sessions.session import Session
from fabric.core.peers.member import Member
from fabric.core.peers.pair import Pair
from fabric.envelope import Envelope, Kind

_LANE = "lane"
"""In the place of a link, if the lane to an edge is full. No exchange has such an id."""


class Holds:
    """The holds of all sessions of a bridge. Each session has its own in `holds`, by edge and link."""

    def __init__(self, member: Member, processes: ProcessRegistry) -> None:
        self.crowding: dict[str, list[Session]] = {}
        """The sessions that are held because the lane to their edge is full, by edge."""
        self._member = member
        self._processes = processes

    def hold(self, session: Session, edge: str, link: str) -> None:
        """A client of this edge falls behind. link: the exchange whose messages it does not read; empty for its long link."""
        if not session.holds:
            self._processes.hold(session.child)
        session.holds.add((edge, link))

    def release(self, session: Session, edge: str, link: str) -> None:
        """A client has caught up, or is gone. link: as for `hold`."""
        self._drop(session, {(edge, link)})

    def posted(self, session: Session, edge: str) -> None:
        """A message was posted to this edge: if the lane is full, hold the process that wrote it."""
        if edge and self._member.pairs.full(edge) and (edge, _LANE) not in session.holds:
            if not session.holds:
                self._processes.hold(session.child)
            session.holds.add((edge, _LANE))
            self.crowding.setdefault(edge, []).append(session)

    def eased(self, pair: Pair) -> None:
        """An edge has acknowledged more."""
        if pair.peer in self.crowding and self._member.pairs.roomy(pair.peer):
            for session in self.crowding.pop(pair.peer):
                self._drop(session, {(pair.peer, _LANE)})

    def lost(self, edge: str, sessions: Iterable[Session]) -> None:
        """An edge is gone, and with it all holds of its links and its lane."""
        self.crowding.pop(edge, None)
        for session in sessions:
            if session.holds:
                self._drop(session, {hold for hold in session.holds if hold[0] == edge})

    def pace(self, session: Session, *, behind: bool, now: float) -> None:
        """A session's process falls behind, or has caught up: have its edge hold its client's long link, or release it."""
        if session.bound:
            kind = Kind.HOLD if behind else Kind.RELEASE
            self._member.control(session.edge, now, Envelope(kind=kind, session=session.id))

    def _drop(self, session: Session, holds: set[tuple[str, str]]) -> None:
        held = bool(session.holds)
        session.holds -= holds
        if held and not session.holds:
            self._processes.release(session.child)

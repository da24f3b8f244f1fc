"""Flow control for clients of an edge that read less than they are sent.

A session's process can wait: its bridge holds it until the client has caught up. A process that many clients share waits for
none of them: once too much waits for a slow client, its messages before an answer are passed over. New progress follows by
itself, and the notices of a subscription are sent again, each once, when there is room.

Above it: the edge's core, http_requests.py and long_links.py. Below it: control lanes to the bridges (peers).
"""

from __future__ import annotations

from typing import Any

from fabric.core.edge.exchange import Exchange
from fabric.core.effects import Effect, Send, Skipped
from fabric.core.peers.member import Member
from fabric.envelope import Envelope, Kind

NOTICES = 256
"""How many different notices of its subscriptions, the newest of those passed over, are kept to be sent again."""


class _SlowLink:
    """One link whose client is behind."""

    __slots__ = ("bytes", "held", "notices", "skipped")

    def __init__(self, waiting_bytes: int) -> None:
        self.bytes = waiting_bytes
        """Bytes that may wait for its client by now."""
        self.skipped = 0
        """How many messages were passed over."""
        self.held: dict[tuple[str, str, str], None] = {}
        """What bridges hold for it: bridge, session and exchange."""
        self.notices: dict[bytes, None] = {}
        """The notices that were passed over, to be sent again."""


class SlowLinks:
    """The links of one edge that are behind.

    Messages of processes that clients share may wait for one client up to a quarter of what a lane may hold: 8 MiB.
    """

    def __init__(self, member: Member, out: list[Effect]) -> None:
        self.behind: dict[str, _SlowLink] = {}
        """The links that are behind, by link."""
        self._most_bytes = member.identity.lane_bytes // 4
        self._member = member
        self._out = out

    def amounts(self) -> dict[str, Any]:
        """See EdgeSnapshot."""
        behind = self.behind.values()
        return {
            "slow_links": len(behind),
            "slow_holds": sum(len(slow.held) for slow in behind),
            "kept_notices": sum(len(slow.notices) for slow in behind),
        }

    def fell_behind(self, link: str, unsent_bytes: int) -> None:
        """A client reads less than it is sent."""
        self.behind[link] = _SlowLink(unsent_bytes)

    def hold(self, link: str, owner: str, session: str, exchange: str, now: float) -> None:
        """A message of a session came for this link, which is behind: have its bridge hold the session's process."""
        held = self.behind[link].held
        if (owner, session, exchange) not in held:
            held[owner, session, exchange] = None
            self._member.control(owner, now, Envelope(kind=Kind.HOLD, session=session, exchange=exchange))

    def admits(self, link: str, exchange: Exchange, frame: bytes, part: str, now: float) -> bool:
        """Whether a message of an exchange may wait for this client, which is behind.

        part: which part of a session its bridge then holds: an exchange's id; empty for all of it.
        """
        request = exchange.request
        if request.session:
            self.hold(link, exchange.owner, request.session, part, now)
            return True
        slow = self.behind[link]
        if slow.bytes + len(frame) <= self._most_bytes:
            slow.bytes += len(frame)
            return True
        slow.skipped += 1
        if request.method == "subscriptions/listen":
            slow.notices.pop(frame, None)
            slow.notices[frame] = None
            if len(slow.notices) > NOTICES:
                del slow.notices[next(iter(slow.notices))]
        return False

    def full(self, link: str, size: int) -> bool:
        """An answer of this size is sent on this link. Returns whether too much waits by now."""
        slow = self.behind[link]
        slow.bytes += size
        return slow.bytes > self._most_bytes

    def caught_up(self, link: str, now: float, *, gone: bool = False) -> None:
        """A client that was behind has read nearly all, or is gone."""
        slow = self.behind.pop(link, None)
        if slow is None:
            return
        for owner, session, exchange in slow.held:
            if owner in self._member.leases.peers:
                self._member.control(owner, now, Envelope(kind=Kind.RELEASE, session=session, exchange=exchange))
        for frame in () if gone else slow.notices:
            self._out.append(Send(link, frame))
        if slow.skipped:
            self._out.append(Skipped(link, slow.skipped))

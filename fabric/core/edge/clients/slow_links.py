"""The links of an edge whose clients take less than they are sent, and what is done about that.

What comes from a session's own process can wait: its bridge is told to read no further from it until the client has caught up.
A process that many clients share waits for none of them: what it says before an answer is passed over once too much of it waits
for this client; progress is told anew all the time, and of a subscription's notices each is said again when there is room.

Above it: the edge's core, http_requests.py and long_links.py. Below it: control lanes to the bridges (peers).
"""

from __future__ import annotations

from typing import Any

from fabric.core.edge.exchange import Exchange
from fabric.core.effects import Effect, Send, Skipped
from fabric.core.peers.member import Member
from fabric.envelope import Envelope, Kind

NOTICES = 256
"""How many different notices of its subscriptions are kept to be said again, of those passed over; the newest."""


class _SlowLink:
    """One link whose client is behind."""

    __slots__ = ("bytes", "held", "notices", "skipped")

    def __init__(self, waiting_bytes: int) -> None:
        self.bytes = waiting_bytes
        """What may wait for its client by now."""
        self.skipped = 0
        """How many messages were passed over."""
        self.held: dict[tuple[str, str, str], None] = {}
        """What bridges were told to hold: bridge, session and exchange."""
        self.notices: dict[bytes, None] = {}
        """The notices passed over, to be said again."""


class SlowLinks:
    """The links that are behind, by link.

    What comes from processes that clients share may wait for one client up to a quarter of what a lane may hold: 8 MiB.
    """

    def __init__(self, member: Member, out: list[Effect]) -> None:
        self.behind: dict[str, _SlowLink] = {}
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
        """A client takes less than it is sent."""
        self.behind[link] = _SlowLink(unsent_bytes)

    def hold(self, link: str, owner: str, session: str, exchange: str, now: float) -> None:
        """A message of a session came for this link, which is behind: its bridge is to read no more of it, for now."""
        held = self.behind[link].held
        if (owner, session, exchange) not in held:
            held[owner, session, exchange] = None
            self._member.control(owner, now, Envelope(kind=Kind.HOLD, session=session, exchange=exchange))

    def admits(self, link: str, exchange: Exchange, frame: bytes, part: str, now: float) -> bool:
        """Whether a message of an exchange may still wait for this client, which is behind.

        part: what of a session its bridge is to hold then: the exchange's id, or nothing for all of it.
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
        """An answer of this size goes to it: whether too much waits by now."""
        slow = self.behind[link]
        slow.bytes += size
        return slow.bytes > self._most_bytes

    def caught_up(self, link: str, now: float, *, gone: bool = False) -> None:
        """A client that was behind has taken nearly all, or is gone."""
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

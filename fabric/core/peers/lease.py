"""Who is alive: announcements, leases, and the rule that who does not hear himself judges nobody.

A process publishes an announcement each second and hears its own back through the broker. A lease runs only while that works;
after a gap (a reconnect, or no own announcement heard that is younger than 1.6 s) every lease starts afresh. (A failure
detector that first doubts itself; compare SWIM's Lifeguard.)
"""

from __future__ import annotations

import msgspec

from fabric.core.peers.announcement import Announcement, Role
from fabric.core.peers.crowd import Crowd

PERIOD = 1.0
"""Seconds between announcements."""
EARLY = 0.1
"""Seconds by which an announcement may be early, so that a look just before its time does not put it off to the next."""
GAP = 1.6
"""Seconds since the sending of the newest own announcement heard back, from which on one is in a gap."""
LEASE = 3.5
"""Seconds a peer is believed to live without a word from it, unless told otherwise."""
SETTLE = 0.4
"""Seconds after the own hello was heard back in which everyone has announced himself, unless others' crowds tell sooner."""


class Peer(msgspec.Struct):
    """Another process as last heard."""

    incarnation: str
    heard: float
    announcement: Announcement | None = None


class Leases:
    """The judge. Fed with everything received; asked who has died. Times are seconds of one monotonic clock."""

    def __init__(self, me: str, lease: float = LEASE) -> None:
        self.me = me
        self.lease = lease
        self.peers: dict[str, Peer] = {}
        self.number = 0
        self._sent: dict[int, float] = {}
        self._announced = float("-inf")
        self._echo = float("-inf")  # when the newest own announcement heard back was sent
        self._afresh = float("-inf")  # since when leases run
        self._answered = float("inf")  # since when everyone has had time to answer
        self._settled = float("inf")  # the same, or since when nobody is missing
        self._crowd = Crowd(me)
        self._complete = False  # nobody is missing, by the crowd of one who has seen a full lease

    def next_number(self, now: float) -> int | None:
        """The number of the announcement that is due now, or None. Telling it is publishing it."""
        if now - self._announced < PERIOD - EARLY:
            return None
        return self.force(now)

    def force(self, now: float) -> int:
        """The number of an announcement made now, whatever is due."""
        self._announced = now
        self.number += 1
        self._sent[self.number] = now
        self._sent.pop(self.number - 64, None)
        return self.number

    def disconnected(self) -> None:
        """The broker is gone: a gap begins."""
        self._echo = float("-inf")
        self._announced = float("-inf")

    def heard_self(self, number: int, now: float) -> bool:
        """An own announcement came back. True when that ends a gap: every lease has just started afresh."""
        sent = self._sent.pop(number, None)
        if sent is None or sent < self._echo:
            return False
        ended = self.in_gap(now) and now - sent <= GAP
        self._echo = sent
        if ended:
            self._afresh = now
            self._complete = False
            self._crowd.forget()
            self._answered = min(self._answered, now + SETTLE)
            self._settled = min(self._settled, self._answered)
        return ended

    def in_gap(self, now: float) -> bool:
        """Whether this process cannot tell silence of the others from its own deafness."""
        return now - self._echo > GAP

    def known(self, now: float) -> bool:
        """Whether this process has once been settled."""
        return now >= self._settled

    def settled(self, now: float) -> bool:
        """Whether this process knows who is there: everyone has answered its hello."""
        return now >= self._settled and not self.in_gap(now)

    def answered(self, now: float) -> bool:
        """Whether everyone has had time to answer its hello, those who came at the same moment among them."""
        return now >= self._answered and not self.in_gap(now)

    def sure(self, now: float) -> bool:
        """Whether it is certain who is there, and who is not: by a full lease without a gap, our own or another worker's."""
        return not self.in_gap(now) and (self._complete or self._seasoned(now))

    def crowd(self, now: float, *, with_me: bool) -> int:
        """What to announce of who is there; 0 before this process has seen a full lease itself."""
        return self._crowd.number(with_me=with_me) if self._seasoned(now) and not self.in_gap(now) else 0

    def _seasoned(self, now: float) -> bool:
        return now >= self._afresh + self.lease

    def next_change(self, now: float) -> float:
        """When this process knows more for the mere lapse of time: everyone has had time to answer, or a lease is over."""
        return min((at for at in (self._settled, self._answered, self._afresh + self.lease) if at > now), default=float("inf"))

    def renew(self, incarnation: str, now: float) -> None:
        """Something came from a peer, or one begins to depend on it."""
        peer = self.peers.get(incarnation)
        if peer is None:
            self.peers[incarnation] = Peer(incarnation, now)
        else:
            peer.heard = now

    def announced(self, incarnation: str, announcement: Announcement, now: float) -> bool:
        """A peer's announcement came. Returns whether it is the peer's first, or names other servers than the one before."""
        self.renew(incarnation, now)
        peer = self.peers[incarnation]
        before, peer.announcement = peer.announcement, announcement
        if announcement.role is not Role.OBSERVER:
            self._crowd.add(incarnation)
        if not (self.in_gap(now) or self.sure(now)):
            self._look_around(announcement.crowd, now)
        return before is None or before.serves.keys() != announcement.serves.keys()

    def _look_around(self, crowd: int, now: float) -> None:
        """Whether those heard by now are all there are."""
        if crowd:
            self._crowd.compare(crowd)
        if self._crowd.complete:
            self._complete = True
            self._settled = min(self._settled, now)

    def quiet(self, incarnation: str, now: float) -> float:
        """For how long this peer has been silent, as far as this process could have heard it; for ever if it is unknown."""
        peer = self.peers.get(incarnation)
        return now - max(peer.heard, self._afresh) if peer is not None else float("inf")

    def end(self, incarnation: str) -> None:
        """The peer said goodbye, or was given up."""
        self._crowd.remove(incarnation)
        self.peers.pop(incarnation, None)

    def dead(self, now: float) -> list[str]:
        """Whose lease has ended by now; nobody's while in a gap. They are the caller's to `end`."""
        if self.in_gap(now):
            return []
        return [peer.incarnation for peer in self.peers.values() if now - max(peer.heard, self._afresh) > self.lease]

    def alive(self, role: Role) -> list[tuple[str, Announcement]]:
        """Every peer of that role under lease that has announced itself."""
        return [
            (peer.incarnation, peer.announcement)
            for peer in self.peers.values()
            if peer.announcement is not None and peer.announcement.role is role
        ]

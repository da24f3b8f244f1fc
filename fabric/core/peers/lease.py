"""Leases on peers, renewed by their announcements: which of them live, and which are lost.

A process publishes an announcement each second, and receives its own back through the broker. While it does not, in a gap,
no peer's lease expires: the fault may be at this end. A gap begins when the broker is gone, or when the newest own announcement
that came back was sent more than 1.6 s ago. When it ends, every lease starts afresh. Who does not hear himself judges nobody.
(A failure detector that first doubts itself; compare SWIM's Lifeguard.)

Above it: member.py, and the edge's directory of servers. Below it: announcement.py and crowd.py.
"""

from __future__ import annotations

import msgspec

from fabric.core.peers.announcement import Announcement, Role
from fabric.core.peers.crowd import Crowd

PERIOD = 1.0
"""Seconds between announcements."""
EARLY = 0.1
"""Seconds by which an announcement may be early, so that a beat just before its time does not put it off to the next."""
GAP = 1.6
"""Seconds after which a gap begins, since the newest own announcement that came back was sent."""
LEASE = 3.5
"""Seconds of silence after which a peer is lost, unless the configuration says otherwise."""
SETTLE = 0.4
"""Seconds after our own hello came back until all workers have announced themselves; a crowd may show sooner that they have."""


class Peer(msgspec.Struct):
    """Another process."""

    incarnation: str
    last_seen: float
    """When the last message from it came."""
    announcement: Announcement | None = None
    """Its newest announcement; None if there was none yet."""


class Leases:
    """The leases of one process on its peers. Times are seconds of one monotonic clock.

    What a process that joins knows of the other workers. In a gap, only `was_settled` is true.

    | | the workers | from when | what waits for it |
    |---|---|---|---|
    | `settled` | have announced themselves | SETTLE after its hello came back, or once a crowd is complete | it is ready |
    | `was_settled` | had done so once | from then on | a later process yields to it in a conflict |
    | `hello_answered` | had time to announce themselves | SETTLE after its hello came back | a bridge takes work |
    | `sure` | are certainly all known | a full lease after a gap, or once a crowd is complete | a server or a session is gone |
    """

    def __init__(self, me: str, lease: float = LEASE) -> None:
        self.me = me
        self.lease = lease
        self.peers: dict[str, Peer] = {}
        self.number = 0
        self._sent: dict[int, float] = {}
        self._announced = float("-inf")
        self._echo = float("-inf")  # when the newest own announcement that came back was sent
        self._afresh = float("-inf")  # since when leases run
        self._hello_answered = float("inf")  # when all workers have had time to answer
        self._settled = float("inf")  # the same, or sooner if no worker is missing
        self._crowd = Crowd(me)
        self._complete = False  # whether no worker is missing, by the crowd of a process that has seen a full lease

    def next_number(self, now: float) -> int | None:
        """The number of the announcement that is due now, or None. The caller publishes it."""
        if now - self._announced < PERIOD - EARLY:
            return None
        return self.force(now)

    def force(self, now: float) -> int:
        """The number of an announcement that is published now, due or not."""
        self._announced = now
        self.number += 1
        self._sent[self.number] = now
        self._sent.pop(self.number - 64, None)
        return self.number

    def disconnected(self) -> None:
        """The broker is gone: a gap begins."""
        self._echo = float("-inf")
        self._announced = float("-inf")

    def echoed(self, number: int, now: float) -> bool:
        """An own announcement came back. Returns whether that ends a gap; then every lease has started afresh."""
        sent = self._sent.pop(number, None)
        if sent is None or sent < self._echo:
            return False
        ended = self.in_gap(now) and now - sent <= GAP
        self._echo = sent
        if ended:
            self._afresh = now
            self._complete = False
            self._crowd.forget()
            self._hello_answered = min(self._hello_answered, now + SETTLE)
            self._settled = min(self._settled, self._hello_answered)
        return ended

    def in_gap(self, now: float) -> bool:
        """Whether this process does not receive its own announcements, so that silence of others means nothing."""
        return now - self._echo > GAP

    def was_settled(self, now: float) -> bool:
        """Whether this process has been settled at least once."""
        return now >= self._settled

    def settled(self, now: float) -> bool:
        """Whether this process knows all workers: they have answered its hello."""
        return now >= self._settled and not self.in_gap(now)

    def hello_answered(self, now: float) -> bool:
        """Whether all workers have had time to answer its hello, also those that started at the same time."""
        return now >= self._hello_answered and not self.in_gap(now)

    def sure(self, now: float) -> bool:
        """Whether it is certain which workers there are: by a full lease without a gap, this process's or another's."""
        return not self.in_gap(now) and (self._complete or self._seasoned(now))

    def crowd(self, now: float, *, with_me: bool) -> int:
        """The number of the known workers, to announce; 0 before this process has seen a full lease itself."""
        return self._crowd.number(with_me=with_me) if self._seasoned(now) and not self.in_gap(now) else 0

    def _seasoned(self, now: float) -> bool:
        return now >= self._afresh + self.lease

    def next_change(self, now: float) -> float:
        """When `settled`, `hello_answered` or `sure` may next change without any message; infinite for never."""
        changes = self._settled, self._hello_answered, self._afresh + self.lease
        return min((at for at in changes if at > now), default=float("inf"))

    def renew(self, incarnation: str, now: float) -> None:
        """A message came from a peer, or this process begins to depend on it."""
        peer = self.peers.get(incarnation)
        if peer is None:
            self.peers[incarnation] = Peer(incarnation, now)
        else:
            peer.last_seen = now

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
        """See whether all workers are known by now."""
        if crowd:
            self._crowd.compare(crowd)
        if self._crowd.complete:
            self._complete = True
            self._settled = min(self._settled, now)

    def quiet(self, incarnation: str, now: float) -> float:
        """Seconds for which this peer has been silent, without those of a gap; infinite for an unknown peer."""
        peer = self.peers.get(incarnation)
        return now - max(peer.last_seen, self._afresh) if peer is not None else float("inf")

    def end(self, incarnation: str) -> None:
        """The peer said goodbye, or was given up."""
        self._crowd.remove(incarnation)
        self.peers.pop(incarnation, None)

    def dead(self, now: float) -> list[str]:
        """The peers whose lease has ended by now; none during a gap. The caller ends each."""
        if self.in_gap(now):
            return []
        return [peer.incarnation for peer in self.peers.values() if now - max(peer.last_seen, self._afresh) > self.lease]

    def alive(self, role: Role) -> list[tuple[str, Announcement]]:
        """The peers of that role that are under lease and have announced themselves."""
        return [
            (peer.incarnation, peer.announcement)
            for peer in self.peers.values()
            if peer.announcement is not None and peer.announcement.role is role
        ]

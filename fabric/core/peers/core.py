"""The base of the cores of edge, bridge and observer: each is a member of the fabric, and shows its state in a snapshot.

Above it: the core of each role, and the node (fabric/runtime/node.py), which drives any of them. Below it: the member.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sized

from fabric.core.effects import Effect
from fabric.core.peers.announcement import Announcement
from fabric.core.peers.member import Identity, Loss, Member
from fabric.core.peers.snapshot import MemberSnapshot


class MemberCore(ABC):
    """A core of any role. See fabric/core/__init__.py for the order in which it is to be called."""

    def __init__(self, identity: Identity) -> None:
        self._out: list[Effect] = []  # the one outbox of the core: every part appends, and `Member.take` empties it
        self.member = Member(identity, self, self._out)
        self.me = identity.incarnation
        self.unsent: Sized = self.member.pairs.dirty
        """The peers that `transmit` has messages for. A driver reads it after each event, which costs less than a call."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.snapshot(self.member.looked_at)}>"

    def transmit(self) -> list[Effect]:
        """The messages that wait in the lanes, as packs."""
        return self.member.pairs.transmit()

    def announcements(self) -> list[tuple[str, Announcement]]:
        """The announcements of all other members under lease, by incarnation."""
        peers = self.member.leases.peers
        return [(peer.incarnation, peer.announcement) for _, peer in sorted(peers.items()) if peer.announcement is not None]

    @abstractmethod
    def snapshot(self, now: float) -> MemberSnapshot:
        """The state of the core now. Each call walks through all that is open."""

    # ------------------------------------------------------------ what a member asks of its owner
    @abstractmethod
    def describe(self, number: int, now: float) -> Announcement:
        """See Owner.describe."""

    @abstractmethod
    def lost(self, peer: str, now: float, loss: Loss) -> None:
        """See Owner.lost."""

    @abstractmethod
    def recovered(self, now: float) -> None:
        """See Owner.recovered."""

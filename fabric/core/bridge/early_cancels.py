"""Keeps cancels that came before the request that they cancel: the control lane overtakes the data lane.

Above it: the bridge's core. Below it: the lanes (peers).
"""

from __future__ import annotations

from fabric.core.peers.member import Member
from fabric.envelope import Envelope, Lane


class EarlyCancels:
    """The early cancels of all edges, each kept until more of its edge's data lane has come."""

    def __init__(self, member: Member) -> None:
        self.waiting: dict[str, list[Envelope]] = {}
        """The cancels, by edge, in the order in which they came."""
        self._member = member

    def keep(self, edge: str, cancel: Envelope) -> None:
        """Keep a cancel of no open request, if its edge had sent more on the data lane than has come yet."""
        if cancel.lane is Lane.CONTROL and cancel.after > self._member.pairs.get(edge).data_in.contiguous:
            self.waiting.setdefault(edge, []).append(cancel)

    def release(self, edge: str) -> list[Envelope]:
        """More of this edge's data lane has come. Returns the cancels that were kept, to be tried again."""
        return self.waiting.pop(edge)

    def lost(self, edge: str) -> None:
        """An edge is gone: forget its cancels."""
        self.waiting.pop(edge, None)

"""Cancels that came before what they cancel: the control lane overtakes the data lane.

Above it: the bridge's core. Below it: the lanes (peers).
"""

from __future__ import annotations

from fabric.core.peers.member import Member
from fabric.envelope import Envelope, Lane


class EarlyCancels:
    """Keeps each such cancel until the data lane of its edge has moved on."""

    def __init__(self, member: Member) -> None:
        self.waiting: dict[str, list[Envelope]] = {}
        """The cancels, by edge, in the order in which they came."""
        self._member = member

    def keep(self, edge: str, cancel: Envelope) -> None:
        """A cancel names nothing that is open here: keep it if its edge had sent more than has come yet."""
        if cancel.lane is Lane.CONTROL and cancel.after > self._member.pairs.get(edge).data_in.contiguous:
            self.waiting.setdefault(edge, []).append(cancel)

    def release(self, edge: str) -> list[Envelope]:
        """More of this edge's data lane has come. Returns what was kept, to be tried again."""
        return self.waiting.pop(edge)

    def lost(self, edge: str) -> None:
        """The edge is gone, and so is what it would have cancelled."""
        self.waiting.pop(edge, None)

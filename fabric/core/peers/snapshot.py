"""What a member of the fabric shows of itself at one moment: whether it may serve, and how much it holds for its peers.

Edges and bridges have records of their own, which begin with this one. Every table of a core is counted in the record of its
role; tests/sim/test_snapshots.py holds that.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class MemberSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A member at one moment; all that an observer shows."""

    incarnation: str
    connected: bool
    """Whether the broker is there."""
    settled: bool
    """Whether it knows who is there, and may therefore serve."""
    sure: bool
    """Whether it is certain who is there and who is not, by a full lease."""
    peers: int
    """The other processes under lease."""
    given_up: int
    """The processes that were given up and have not spoken since; the newest 4096."""
    lanes: int
    """The processes that it has lanes with."""
    unsent_lanes: int
    """Those for which something waits to be sent."""
    unsent: int
    """Lane messages that wait to be sent, for the first time or again."""
    unacknowledged: int
    """Lane messages that were not acknowledged yet."""
    unacknowledged_bytes: int
    """Their size."""
    early: int
    """Lane messages that have come and wait for those before them."""

    def amounts(self) -> dict[str, object]:
        """The fields that are neither zero nor empty, but for the incarnation."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "incarnation"}
        return {name: value for name, value in fields.items() if value}

    def __str__(self) -> str:
        return f"{self.incarnation} {_listed(self.amounts())}".rstrip()


def _listed(amounts: Mapping[str, object]) -> str:
    return " ".join(name if value is True else f"{name}={value}" for name, value in amounts.items())

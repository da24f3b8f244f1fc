"""The state of a member of the fabric at one moment: whether it may serve, and how much it holds for its peers.

Edges and bridges have records of their own, which begin with this one. Every table of a core is counted in the record of its
role; tests/sim/test_snapshots.py holds that.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class MemberSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a member; all that an observer has."""

    incarnation: str
    """The incarnation of the process."""
    connected: bool
    """Whether the broker is connected."""
    settled: bool
    """Whether it knows the other members, so that it may serve."""
    sure: bool
    """Whether it is certain, by a full lease, which other members there are."""
    peers: int
    """The other processes under lease."""
    given_up: int
    """The processes that were given up and have sent nothing since; at most the newest 4096."""
    lanes: int
    """The processes with which it has lanes."""
    unsent_lanes: int
    """The processes for which messages or acknowledgements wait to be sent."""
    unsent: int
    """Lane messages that wait to be sent, for the first time or again."""
    unacknowledged: int
    """Lane messages that are not acknowledged."""
    unacknowledged_bytes: int
    """Bytes of these messages."""
    early: int
    """Lane messages that have come before one of a lower number, for which they wait."""

    def amounts(self) -> dict[str, object]:
        """The fields that are neither zero nor empty, without the incarnation."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "incarnation"}
        return {name: value for name, value in fields.items() if value}

    def __str__(self) -> str:
        return f"{self.incarnation} {_listed(self.amounts())}".rstrip()


def _listed(amounts: Mapping[str, object]) -> str:
    return " ".join(name if value is True else f"{name}={value}" for name, value in amounts.items())

"""A member: what keeps a lease, and who is told of what."""

from typing import Any

import pytest

from fabric.core.effects import Conflict, Effect
from fabric.core.peers import announcement
from fabric.core.peers.announcement import Announcement, Role
from fabric.core.peers.member import Identity, Loss, Member, announcing
from fabric.envelope import VERSION, Envelope, Kind, Lane, Pack, single


class Owner:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.lost_peers: list[tuple[str, Loss]] = []
        self.identity = Identity(incarnation="me", key="k")

    def describe(self, number: int, now: float) -> Announcement:
        return announcing(self.identity, Role.EDGE, number)

    def lost(self, peer: str, now: float, loss: Loss) -> None:
        self.lost_peers.append((peer, loss))

    def recovered(self, now: float) -> None:
        """A gap has ended."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def member() -> tuple[Member, Owner]:
    out: list[Effect] = []
    owner = Owner()
    return Member(owner.identity, owner, out), owner


def word(generation: int, number: int) -> Pack:
    envelope = Envelope(kind=Kind.TAKEN, exchange="x", lane=Lane.CONTROL, number=number)
    return Pack(VERSION, "peer", generation, 0, 0, (envelope,))


def test_only_packs_of_the_current_generation_renew_a_lease() -> None:
    me, owner = member()
    assert me.receive(word(1, 1), 0.0)
    assert "peer" in me.leases.peers
    me.receive(single("peer", Envelope(kind=Kind.BYE)), 1.0)
    assert owner.lost_peers == [("peer", Loss.GOODBYE)]
    assert me.receive(word(1, 2), 1.1) == []
    assert "peer" not in me.leases.peers
    assert me.receive(word(2, 1), 1.2)
    assert "peer" in me.leases.peers


def test_a_higher_generation_of_a_peer_counts_as_its_loss() -> None:
    me, owner = member()
    me.data("peer", 0.0, Envelope(kind=Kind.FRAME))
    assert [envelope.number for envelope in me.receive(word(3, 1), 1.0)] == [1]
    assert owner.lost_peers == [("peer", Loss.GAVE_US_UP)]
    assert all(pair.quiet for pair in me.pairs)


@pytest.mark.requirement("K09")
@pytest.mark.parametrize(("versions", "used"), [((VERSION,), True), ((VERSION, VERSION + 1), True), ((VERSION + 1,), False)])
def test_a_peer_is_used_if_it_reads_our_version_of_the_envelope(versions: tuple[int, ...], used: bool) -> None:
    me, _ = member()
    said = announcement.encode(Announcement(role=Role.BRIDGE, number=1, key="k", versions=versions, host="vm:1"))
    me.receive(single("peer", Envelope(kind=Kind.ANNOUNCE, body=said)), 1.0)
    assert ("peer" in me.leases.peers) == used
    conflicts = [effect.reason for effect in me.take() if isinstance(effect, Conflict)]
    assert len(conflicts) == (not used)
    assert all("bridge vm:1" in reason and str(VERSION + 1) in reason for reason in conflicts)

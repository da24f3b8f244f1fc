"""A member: what keeps a lease, and which losses and conflicts it reports."""

import pytest

from fabric.core.effects import Conflict, Effect, StatusChanged
from fabric.core.events import BrokerConnected, BrokerLost, PackArrived
from fabric.core.peers import announcement
from fabric.core.peers.announcement import Announcement, Role, Served
from fabric.core.peers.lease import LEASE, SETTLE
from fabric.core.peers.member import Identity, Loss, Member, announcing
from fabric.core.peers.observer import ObserverCore
from fabric.envelope import VERSION, Envelope, Kind, Lane, Pack, single


class Owner:
    """An owner that records which peers it has lost."""

    def __init__(self) -> None:
        self.lost_peers: list[tuple[str, Loss]] = []
        self.identity = Identity(incarnation="me", key="k")

    def describe(self, number: int, now: float) -> Announcement:
        return announcing(self.identity, Role.EDGE, number)

    def lost(self, peer: str, now: float, loss: Loss) -> None:
        self.lost_peers.append((peer, loss))

    def recovered(self, now: float) -> None:
        """A gap has ended."""


def member() -> tuple[Member, Owner]:
    out: list[Effect] = []
    owner = Owner()
    return Member(owner.identity, owner, out), owner


def pack(generation: int, number: int) -> Pack:
    envelope = Envelope(kind=Kind.TAKEN, exchange="x", lane=Lane.CONTROL, number=number)
    return Pack(VERSION, "peer", generation, 0, 0, (envelope,))


def test_only_packs_of_the_current_generation_renew_a_lease() -> None:
    me, owner = member()
    assert me.receive(pack(1, 1), 0.0)
    assert "peer" in me.leases.peers
    me.receive(single("peer", Envelope(kind=Kind.BYE)), 1.0)
    assert owner.lost_peers == [("peer", Loss.GOODBYE)]
    assert me.receive(pack(1, 2), 1.1) == []
    assert "peer" not in me.leases.peers
    assert me.receive(pack(2, 1), 1.2)
    assert "peer" in me.leases.peers


def test_a_higher_generation_of_a_peer_counts_as_its_loss() -> None:
    me, owner = member()
    me.data("peer", 0.0, Envelope(kind=Kind.FRAME))
    assert [envelope.number for envelope in me.receive(pack(3, 1), 1.0)] == [1]
    assert owner.lost_peers == [("peer", Loss.GAVE_US_UP)]
    assert all(pair.quiet for pair in me.pairs)


@pytest.mark.requirement("K09")
@pytest.mark.parametrize(("versions", "used"), [((VERSION,), True), ((VERSION, VERSION + 1), True), ((VERSION + 1,), False)])
def test_a_peer_is_used_if_it_reads_our_version_of_the_envelope(versions: tuple[int, ...], used: bool) -> None:
    me, _ = member()
    body = announcement.encode(Announcement(role=Role.BRIDGE, number=1, key="k", versions=versions, host="vm:1"))
    me.receive(single("peer", Envelope(kind=Kind.ANNOUNCE, body=body)), 1.0)
    assert ("peer" in me.leases.peers) == used
    conflicts = [effect.reason for effect in me.take() if isinstance(effect, Conflict)]
    assert len(conflicts) == (not used)
    assert all("bridge vm:1" in reason and str(VERSION + 1) in reason for reason in conflicts)


def observer() -> ObserverCore:
    """An observer that has heard its own hello at the moment 1.0."""
    core = ObserverCore(Identity(incarnation="me", key="k"))
    core.handle(BrokerConnected(keeps=False, largest_message_bytes=1 << 20), 1.0)
    echo = Envelope(kind=Kind.ANNOUNCE, body=announcement.encode(core.describe(1, 1.0)))
    core.handle(PackArrived(single("me", echo)), 1.0)
    return core


def test_the_moment_from_which_a_member_is_settled_is_a_deadline_and_is_said_at_once() -> None:
    core = observer()
    core.expire(1.25)
    assert not core.snapshot(1.25).settled
    assert core.next_deadline() == core.soonest == 1.0 + SETTLE  # and not at the next regular look
    assert StatusChanged() in core.expire(1.0 + SETTLE)
    assert core.snapshot(1.0 + SETTLE).settled


def test_so_is_the_moment_from_which_it_is_sure() -> None:
    core = observer()
    looked, echoed = 1.0, 1
    while not core.snapshot(looked).sure:
        looked = core.next_deadline()
        effects = core.expire(looked)
        if core.member.leases.number > echoed:  # it hears itself
            echoed = core.member.leases.number
            words = announcement.encode(core.describe(echoed, looked))
            core.handle(PackArrived(single("me", Envelope(kind=Kind.ANNOUNCE, body=words))), looked)
    assert looked == 1.0 + LEASE
    assert StatusChanged() in effects


def test_who_is_there_and_what_they_serve_is_said_when_it_changes_and_not_each_second() -> None:
    core = observer()

    def announced(number: int, **serves: Served) -> bool:
        words = Announcement(Role.BRIDGE, number, "k", (VERSION,), serves=serves)
        pack = single("peer", Envelope(kind=Kind.ANNOUNCE, body=announcement.encode(words)))
        return StatusChanged() in core.handle(PackArrived(pack), 1.1)

    assert announced(1, s=Served("d"))
    assert not announced(2, s=Served("d", free=3))
    assert announced(3, s=Served("d"), t=Served("d"))
    assert StatusChanged() in core.handle(PackArrived(single("peer", Envelope(kind=Kind.BYE))), 1.2)
    assert StatusChanged() in core.handle(BrokerLost("gone"), 1.3)
    assert not core.snapshot(1.3).connected

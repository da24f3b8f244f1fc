"""Detours: which queues work bypasses, and which bridge it is sent to instead."""

from fabric.core.edge.detours import UNNOTICED, UNNOTICED_KEPT, Detours
from fabric.core.effects import Effect
from fabric.core.peers import announcement
from fabric.core.peers.announcement import Announcement, Health, Role, Served
from fabric.core.peers.lease import GAP
from fabric.core.peers.member import Identity, Loss, Member, announcing
from fabric.envelope import Envelope, Kind, single


class Owner:
    """An edge that sends nothing."""

    def describe(self, number: int, now: float) -> Announcement:
        return announcing(Identity(incarnation="me", key="k"), Role.EDGE, number)

    def lost(self, peer: str, now: float, loss: Loss) -> None: ...

    def recovered(self, now: float) -> None: ...


class EdgeWithBridges:
    """The detours of an edge that receives its own announcements and those of bridges of the server `s`."""

    def __init__(self, *, keeps: bool = False) -> None:
        out: list[Effect] = []
        self.member = Member(Identity(incarnation="me", key="k"), Owner(), out)
        self.member.keeps = keeps
        self.detours = Detours(self.member)

    def receive(self, now: float, **free: int) -> None:
        """Receive announcements of these bridges, by name with their free slots, and our own; then take the regular look."""
        number = self.member.leases.force(now)
        for name, slots in free.items():
            served = Served(digest="d", free=slots, health=Health.HEALTHY)
            self.announce(name, Announcement(role=Role.BRIDGE, number=1, key="k", versions=(1,), serves={"s": served}), now)
        self.announce("me", Owner().describe(number, now), now)
        self.detours.look(now)

    def announce(self, name: str, content: Announcement, now: float) -> None:
        self.member.receive(single(name, Envelope(kind=Kind.ANNOUNCE, body=announcement.encode(content))), now)


def test_work_bypasses_a_queue_once_one_of_its_bridges_is_silent_and_goes_to_the_other() -> None:
    edge = EdgeWithBridges()
    edge.receive(0.0, a=4, b=4)
    assert not edge.detours.needed("s")
    edge.receive(1.0, b=4)
    assert not edge.detours.needed("s")
    edge.receive(GAP + 0.1, b=4)
    assert edge.detours.needed("s")
    assert {edge.detours.bridge("s", GAP + 0.1) for _ in range(9)} == {"b"}
    edge.receive(2.0, a=4, b=4)
    assert not edge.detours.needed("s")


def test_a_bridge_that_announces_itself_and_acknowledges_nothing_is_in_doubt() -> None:
    edge = EdgeWithBridges()
    edge.receive(0.0, a=4, b=4)
    edge.member.control("a", 0.0, Envelope(kind=Kind.GRANT))
    edge.receive(1.0, a=4, b=4)
    assert not edge.detours.needed("s")
    edge.receive(1.1, a=4, b=4)
    assert edge.detours.needed("s")
    assert edge.detours.bridge("s", 1.1) == "b"


def test_an_edge_that_misses_its_own_announcements_doubts_no_bridge() -> None:
    edge = EdgeWithBridges()
    edge.receive(0.0, a=4, b=4)
    edge.detours.look(GAP + 1.0)
    assert not edge.detours.needed("s")


def test_work_goes_to_the_bridge_with_most_room_less_what_was_sent_to_it() -> None:
    edge = EdgeWithBridges()
    edge.receive(0.0, a=3, b=1)
    assert sorted(edge.detours.bridge("s", 0.1) for _ in range(4)) == ["a", "a", "a", "b"]
    assert {edge.detours.bridge("s", 0.1) for _ in range(2)} == {"a", "b"}  # beyond its room, still in turn
    edge.receive(0.2, a=0, b=1)
    assert edge.detours.bridge("s", 0.2) == "b"


def test_a_bridge_with_a_fresh_announcement_is_preferred_to_one_with_more_room() -> None:
    edge = EdgeWithBridges()
    edge.receive(0.0, a=9, b=1)
    edge.receive(0.6, b=1)
    assert edge.detours.bridge("s", 0.6) == "b"


def test_a_bridge_that_was_given_up_stays_in_doubt_until_the_broker_has_surely_noticed() -> None:
    for keeps, unnoticed in ((False, UNNOTICED), (True, UNNOTICED_KEPT)):
        edge = EdgeWithBridges(keeps=keeps)
        edge.receive(0.0, a=4, b=4)
        edge.member.leases.end("a")
        assert edge.detours.lost("a", 4.0) == {"s"}
        edge.receive(4.0 + unnoticed - 0.1, b=4)
        assert edge.detours.needed("s")
        assert edge.detours.bridge("s", 4.0 + unnoticed - 0.1) == "b"
        edge.receive(4.0 + unnoticed, b=4)
        assert not edge.detours.needed("s")
        assert edge.detours.lost("nobody", 4.0 + unnoticed) == frozenset()


def test_without_another_bridge_there_is_no_detour() -> None:
    edge = EdgeWithBridges()
    assert edge.detours.bridge("s", 0.0) == ""
    edge.receive(0.0, a=4)
    edge.receive(1.0)
    edge.receive(GAP + 0.1)
    assert edge.detours.needed("s")
    assert edge.detours.bridge("s", GAP + 0.1) == ""

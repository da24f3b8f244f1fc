"""Pairs: generations separate old messages from new ones, packs stay small, and control is never far behind data."""

from fabric.core.effects import Publish
from fabric.core.peers.pair import Pairs
from fabric.envelope import Envelope, Kind, Lane, Pack, weight


def pairs(me: str) -> Pairs:
    return Pairs(me, lane_bytes=1000)


def message(body: bytes = b"x") -> Envelope:
    return Envelope(kind=Kind.MESSAGE, body=body)


def packs(sender: Pairs) -> list[Pack]:
    effects = [effect for effect in sender.transmit() if isinstance(effect, Publish)]
    assert not sender.dirty
    return [effect.pack for effect in effects]


def carry(sender: Pairs, receiver: Pairs, now: float) -> list[bytes]:
    """Carry the packs of one process to the other; returns the bodies to act on."""
    bodies = []
    for pack in packs(sender):
        received = receiver.receive(pack, now)
        bodies += [envelope.body for envelope in received[0]] if received else []
    return bodies


def test_everything_for_one_peer_leaves_in_one_pack_and_is_kept_until_acknowledged() -> None:
    edge, bridge = pairs("e"), pairs("b")
    edge.data("b", 0.0, message(b"1"))
    edge.control("b", 0.0, message(b"2"))
    edge.data("b", 0.0, message(b"3"))
    (pack,) = packs(edge)
    assert [envelope.body for envelope in pack.envelopes] == [b"1", b"2", b"3"]
    assert not edge.get("b").quiet
    bridge.receive(pack, 0.1)
    bridge.beat(0.2)
    assert carry(bridge, edge, 0.3) == []
    assert edge.get("b").quiet


def test_a_lost_pack_is_sent_again_after_a_second_and_acted_on_once() -> None:
    edge, bridge = pairs("e"), pairs("b")
    edge.data("b", 0.0, message())
    lost = packs(edge)
    edge.beat(0.5)
    assert packs(edge) == []
    edge.beat(1.1)
    assert carry(edge, bridge, 1.2) == [b"x"]
    assert bridge.receive(lost[0], 1.3) == ([], False)


def test_a_gap_is_reported_at_once_and_closed_by_the_lost_message() -> None:
    edge, bridge = pairs("e"), pairs("b")
    edge.data("b", 0.0, message(b"1"))
    packs(edge)  # they are lost
    edge.data("b", 0.2, message(b"2"))
    assert carry(edge, bridge, 0.2) == []
    assert bridge.dirty
    assert carry(bridge, edge, 0.3) == []
    assert carry(edge, bridge, 0.3) == [b"1", b"2"]


def test_a_process_that_was_given_up_learns_it_from_the_answer_to_its_next_message() -> None:
    edge, bridge = pairs("e"), pairs("b")
    bridge.data("e", 0.0, message())
    carry(bridge, edge, 0.0)
    edge.give_up("b")
    bridge.data("e", 5.0, message(b"late"))
    assert carry(bridge, edge, 5.0) == []
    (notice,) = packs(edge)
    assert notice.generation == 2
    assert bridge.receive(notice, 5.1) == ([], True)
    bridge.data("e", 5.2, message(b"anew"))
    assert carry(bridge, edge, 5.2) == [b"anew"]


def test_a_silent_process_that_was_given_up_learns_it_when_it_announces_itself() -> None:
    edge, bridge = pairs("e"), pairs("b")
    edge.data("b", 0.0, message())
    carry(edge, bridge, 0.0)
    edge.give_up("b")
    edge.remind("b")
    (notice,) = packs(edge)
    assert bridge.receive(notice, 1.0) == ([], True)
    bridge.beat(1.1)
    carry(bridge, edge, 1.1)
    edge.remind("b")
    assert packs(edge) == []  # it knows already


def test_two_processes_that_give_each_other_up_at_once_go_on() -> None:
    edge, bridge = pairs("e"), pairs("b")
    edge.data("b", 0.0, message())
    carry(edge, bridge, 0.0)
    edge.give_up("b")
    bridge.give_up("e")
    edge.data("b", 1.0, message(b"1"))
    bridge.data("e", 1.0, message(b"2"))
    assert carry(edge, bridge, 1.0) == [b"1"]
    assert carry(bridge, edge, 1.0) == [b"2"]


def test_peers_that_were_given_up_leave_no_pair_behind() -> None:
    edge = pairs("e")
    for number in range(10_000):
        edge.data(f"b{number}", 0.0, message())
        edge.give_up(f"b{number}")
    assert list(edge) == []
    assert len(edge._raised) <= 4096


def test_packs_stay_under_the_brokers_size_and_at_most_one_of_data_precedes_control() -> None:
    edge = pairs("e")
    edge.pack_bytes = 10_000
    for _ in range(10):
        edge.data("b", 0.0, message(b"x" * 4000))
    edge.control("b", 0.0, message(b"!"))
    sent = packs(edge)
    assert all(sum(len(envelope.body) for envelope in pack.envelopes) <= 10_000 for pack in sent)
    assert sent[1].envelopes[0].lane is Lane.CONTROL
    numbers = [envelope.number for pack in sent for envelope in pack.envelopes if envelope.lane is Lane.DATA]
    assert numbers == list(range(1, 11))


def test_a_data_lane_is_full_at_its_limit() -> None:
    edge = pairs("e")
    assert not edge.full("b")
    edge.data("b", 0.0, message(b"x" * 1000))
    assert edge.full("b")


def test_every_field_whose_size_a_client_chooses_counts_as_bytes_of_a_lane() -> None:
    me = Pairs("me", lane_bytes=4_000_000)
    for _ in range(8):
        me.data("you", 0.0, Envelope(kind=Kind.REQUEST, client_id=b"9" * 500_000, body=b"{}"))
    assert me.full("you")
    assert [len(pack.envelopes) for pack in packs(me)] == [1] * 8


def test_a_withdrawn_message_leaves_only_its_number_in_the_lane() -> None:
    me, peer = Pairs("me", lane_bytes=1 << 20), Pairs("peer", lane_bytes=1 << 20)
    for body in (b"first", b"second", b"third"):
        me.data("peer", 0.0, Envelope(kind=Kind.REQUEST, exchange="e", body=body))
    me.withdraw("peer", 2)
    for number in (0, 4):
        me.withdraw("peer", number)  # the lane has no such number
    me.withdraw("nobody", 1)
    (sent,) = me.transmit()
    assert isinstance(sent, Publish)
    received = peer.receive(sent.pack, 0.0)
    assert received is not None
    assert [(envelope.kind, envelope.number, envelope.body) for envelope in received[0]] == [
        (Kind.REQUEST, 1, b"first"),
        (Kind.CANCEL, 2, b""),
        (Kind.REQUEST, 3, b"third"),
    ]
    assert me.get("peer").data_out.kept_bytes == sum(weight(envelope) for envelope in received[0])

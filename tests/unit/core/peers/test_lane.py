"""A lane: each message is acted on once and in order, whatever order and number of copies the broker delivers."""

from hypothesis import given
from hypothesis import strategies as st

from fabric.core.peers.lane import HELD_MESSAGES, Incoming, Outgoing
from fabric.envelope import Envelope, Kind, weight


def message(number: int, body: bytes = b"") -> Envelope:
    return Envelope(kind=Kind.MESSAGE, number=number, body=body)


@given(st.lists(st.integers(1, 12)).map(lambda extra: [*extra, *range(1, 13)]).flatmap(st.permutations))
def test_copies_in_any_order_are_accepted_once_each_and_in_order(numbers: list[int]) -> None:
    lane = Incoming()
    out = [envelope.number for number in numbers for envelope in lane.accept(message(number))]
    assert out == list(range(1, 13))
    assert not lane.held


def test_a_lane_holds_a_bounded_number_of_messages_behind_a_gap() -> None:
    lane = Incoming()
    for number in range(2, HELD_MESSAGES + 100):
        assert lane.accept(message(number)) == []
    assert len(lane.held) == HELD_MESSAGES
    assert len(lane.accept(message(1))) == HELD_MESSAGES + 1


@given(st.lists(st.integers(-2, 15)))
def test_a_lane_keeps_the_unacknowledged_messages_and_counts_their_bytes(acknowledgements: list[int]) -> None:
    lane = Outgoing()
    for number in range(1, 11):
        lane.keep(message(lane.next, b"x" * number), 0.0)
    for number in acknowledgements:
        lane.acknowledge(number, 1.0)
    reached = max((number for number in acknowledgements if number <= 10), default=0)
    assert [envelope.number for envelope in lane.kept] == list(range(max(reached, 0) + 1, 11))
    assert lane.kept_bytes == sum(weight(envelope) for envelope in lane.kept)

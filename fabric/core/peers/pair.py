"""A pair of incarnations: data and control lanes each way, under one generation; and the table of all pairs of one process.

A process that gives its peer up raises the generation and starts afresh. A pack of a lower generation is dropped, and answered
with the present one; a pack of a higher generation means that the peer has given this process up. Messages gather until
`transmit`, so that all that go to one inbox leave as one pack.

Above it: member.py, and the cores that post through it. Below it: lane.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from fabric.addressing import inbox
from fabric.core.effects import Effect, Publish
from fabric.core.peers.lane import Incoming, Outgoing
from fabric.envelope import VERSION, Envelope, Kind, Lane, Pack, weight

PACK_BYTES = 256 * 1024
"""How many bytes gather in one pack at most; a larger message goes alone."""

REMEMBERED = 4096
"""How many peers that were given up are remembered, with their generation; the oldest is forgotten first."""

RESEND_AFTER = 1.0
"""Seconds without an acknowledgement after which kept messages are sent again."""


class Pair:
    """The lanes of this process to and from one other incarnation."""

    __slots__ = ("control_in", "control_out", "data_in", "data_out", "generation", "owes", "peer", "pending", "pending_bytes")

    def __init__(self, peer: str, generation: int = 1) -> None:
        self.peer = peer
        self.reset(generation)

    def reset(self, generation: int) -> None:
        """Start all lanes afresh in a higher generation; kept messages are forgotten."""
        self.generation = generation
        """Counts from 1 how often one of the two has given the other up."""
        self.data_out, self.control_out = Outgoing(), Outgoing()
        self.data_in, self.control_in = Incoming(), Incoming()
        self.pending: list[Envelope] = []
        """The messages that `transmit` will send."""
        self.pending_bytes = 0
        """Their weight at most: a message that was withdrawn still counts."""
        self.owes = False
        """Whether the peer is owed an acknowledgement, or the generation."""

    @property
    def quiet(self) -> bool:
        """Whether the peer has acknowledged all messages."""
        return not (self.data_out.kept or self.control_out.kept)


class Pairs:
    """Every pair of one process, and the messages that wait to be sent in each."""

    def __init__(self, me: str, *, lane_bytes: int) -> None:
        self.me = me
        self._lane_bytes = lane_bytes
        self.pack_bytes = PACK_BYTES
        self._pairs: dict[str, Pair] = {}
        self.dirty: dict[str, Pair] = {}  # those for which `transmit` has something to send
        self._raised: dict[str, int] = {}  # the generation with each peer that was given up, until it sends a pack of that

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs.values())

    def get(self, peer: str) -> Pair:
        """The pair with `peer`, made at first use."""
        pair = self._pairs.get(peer)
        if pair is None:
            pair = self._pairs[peer] = Pair(peer, self._raised.get(peer, 1))
        return pair

    def full(self, peer: str) -> bool:
        """Whether the data lane to `peer` holds so much that it takes no new work."""
        return self.get(peer).data_out.kept_bytes >= self._lane_bytes

    def roomy(self, peer: str) -> bool:
        """Whether the data lane to `peer` has room again for links that were held because it was full."""
        return self.get(peer).data_out.kept_bytes < self._lane_bytes / 2

    def data(self, peer: str, now: float, envelope: Envelope) -> int:
        """Post a message on the data lane to `peer`. Returns its number."""
        pair = self.get(peer)
        number = pair.data_out.next
        envelope.lane, envelope.number = Lane.DATA, number
        pair.pending_bytes += pair.data_out.keep(envelope, now)
        pair.pending.append(envelope)
        self.dirty[peer] = pair
        return number

    def withdraw(self, peer: str, number: int) -> None:
        """Take back a message of the data lane that surely was not sent. An empty one takes its number: no gap opens."""
        pair = self._pairs.get(peer)
        kept = pair.data_out.kept if pair is not None else ()
        if pair is None or not kept or not kept[0].number <= number <= kept[-1].number:
            return  # the lane was reset meanwhile
        old = pair.data_out.kept[number - kept[0].number]
        empty = Envelope(kind=Kind.CANCEL, exchange=old.exchange, lane=Lane.DATA, number=number, attempt=old.attempt)
        pair.data_out.kept[number - kept[0].number] = empty
        pair.data_out.kept_bytes += weight(empty) - weight(old)
        pair.pending = [empty if envelope is old else envelope for envelope in pair.pending]

    def control(self, peer: str, now: float, envelope: Envelope) -> int:
        """Post a message on the control lane to `peer`; `after` is the newest number of the data lane. Returns its number."""
        pair = self.get(peer)
        number = pair.control_out.next
        envelope.lane, envelope.number, envelope.after = Lane.CONTROL, number, pair.data_out.next - 1
        pair.pending_bytes += pair.control_out.keep(envelope, now)
        pair.pending.append(envelope)
        self.dirty[peer] = pair
        return number

    def receive(self, pack: Pack, now: float) -> tuple[list[Envelope], bool] | None:
        """Take in a pack from the inbox. Returns the envelopes to handle, in order, and whether the peer has given us up.

        Returns None for a pack of a generation that is over; its sender is sent the present one.
        """
        source = pack.source
        if pack.generation < self._generation(source):
            self._send_generation(source)
            return None
        pair = self.get(source)
        if self._raised:
            self._raised.pop(source, None)
        given_up = pack.generation > pair.generation
        if given_up:
            pair.reset(pack.generation)
            pair.owes = True  # confirms the new generation to the peer
        pair.data_out.acknowledge(pack.ack_data, now)
        pair.control_out.acknowledge(pack.ack_control, now)
        ready: list[Envelope] = []
        for envelope in pack.envelopes:
            lane = pair.data_in if envelope.lane is Lane.DATA else pair.control_in
            gap = bool(lane.held)
            ready += lane.accept(envelope)
            if lane.held and not gap:  # a gap has opened: acknowledge at once, so that the peer sends again
                self.dirty[pair.peer] = pair
            pair.owes = True
        if not pack.envelopes and (pack.ack_data < pair.data_out.next - 1 or pack.ack_control < pair.control_out.next - 1):
            self._resend(pair, now, older_than=0.1)
        return ready, given_up

    def owing(self, peer: str, now: float) -> float:
        """Seconds for which the peer has acknowledged nothing of what it was sent; 0 if it has acknowledged all."""
        pair = self._pairs.get(peer)
        lanes = (pair.data_out, pair.control_out) if pair is not None else ()
        return max((now - lane.owed_since for lane in lanes if lane.kept), default=0.0)

    def give_up(self, peer: str) -> None:
        """Give a peer up: raise the generation, and forget the messages that were kept for it."""
        generation = self._generation(peer) + 1
        self._raised.pop(peer, None)
        self._raised[peer] = generation
        if len(self._raised) > REMEMBERED:
            del self._raised[next(iter(self._raised))]
        self._pairs.pop(peer, None)
        self.dirty.pop(peer, None)

    def remind(self, peer: str) -> None:
        """A peer has announced itself: if it was given up and may not know that, it is sent the generation."""
        if peer in self._raised:
            self._send_generation(peer)

    def given_up(self, peer: str) -> bool:
        """Whether the peer was given up, and has sent no pack of the new generation."""
        return peer in self._raised

    @property
    def given_up_count(self) -> int:
        """How many peers were given up, and have not spoken since."""
        return len(self._raised)

    def _generation(self, peer: str) -> int:
        pair = self._pairs.get(peer)
        return pair.generation if pair is not None else self._raised.get(peer, 1)

    def _send_generation(self, peer: str) -> None:
        """Send the generation to a peer that may be dead, without opening a pair with it."""
        pair = self._pairs.get(peer) or Pair(peer, self._generation(peer))
        pair.owes = True
        self.dirty[peer] = pair

    def beat(self, now: float) -> None:
        """Send acknowledgements that no message has carried, and again what was not acknowledged for too long."""
        for pair in self._pairs.values():
            if pair.owes or pair.data_in.held or pair.control_in.held:  # acknowledge again until the gap closes
                self.dirty[pair.peer] = pair
            self._resend(pair, now, older_than=RESEND_AFTER)

    def reconnected(self, now: float) -> None:
        """The broker was away: send again all that is not acknowledged."""
        for pair in self._pairs.values():
            pair.data_out.owed_since = pair.control_out.owed_since = now
            self._resend(pair, now, older_than=0.0)

    def _resend(self, pair: Pair, now: float, older_than: float) -> None:
        for out in (pair.control_out, pair.data_out):
            if out.kept and now - out.sent_at >= older_than:
                out.sent_at = now
                waiting = {id(envelope) for envelope in pair.pending}
                pair.pending += [envelope for envelope in out.kept if id(envelope) not in waiting]
                pair.pending_bytes += out.kept_bytes
                self.dirty[pair.peer] = pair

    def transmit(self) -> list[Effect]:
        """The messages posted since the last call, as packs, with the acknowledgements that are owed to their peers.

        A pack stays within the size limit. Messages keep the order in which they were posted, except that control messages
        never have more than one pack of data ahead of them.
        """
        effects: list[Effect] = []
        for pair in self.dirty.values():
            pending, pair.pending, pair.owes = pair.pending, [], False
            size, pair.pending_bytes = pair.pending_bytes, 0
            for envelopes in self._split(pending) if size > self.pack_bytes else (pending,):
                header = (pair.generation, pair.data_in.contiguous, pair.control_in.contiguous)
                effects.append(Publish(inbox(pair.peer), Pack(VERSION, self.me, *header, tuple(envelopes))))
        self.dirty.clear()
        return effects

    def _split(self, pending: list[Envelope]) -> list[list[Envelope]]:
        size = self._fill(pending)
        packs, rest = [pending[:size]], pending[size:]
        rest.sort(key=lambda envelope: envelope.lane is Lane.DATA)  # stable: each lane keeps its order
        while rest:
            size = self._fill(rest)
            packs.append(rest[:size])
            rest = rest[size:]
        return packs

    def _fill(self, envelopes: list[Envelope]) -> int:
        """How many of the first envelopes make up one pack: at least one, and no more bytes than the broker takes."""
        room = self.pack_bytes
        for count, envelope in enumerate(envelopes):
            room -= weight(envelope)
            if room < 0 and count:
                return count
        return len(envelopes)

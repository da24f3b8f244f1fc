"""The two ends of a lane: a numbered sequence of messages between two incarnations, in order and without loss or duplicates.

Each lane numbers its messages from 1. The receiver returns its highest contiguous number with every pack, and holds messages
that came early. The sender keeps what is not acknowledged; pair.py sends it again on a gap, on a reconnect, or after a second.
(As in TCP and QUIC, over messages instead of bytes; EIP: resequencer, idempotent receiver, guaranteed delivery.)
"""

from __future__ import annotations

from collections import deque

from fabric.envelope import Envelope, weight

HELD_MESSAGES = 4096
"""How many messages may wait behind a gap; any more are dropped, and sent again by the peer."""


class Outgoing:
    """The sending end of one lane."""

    __slots__ = ("acknowledged", "kept", "kept_bytes", "next", "owed_since", "sent_at")

    def __init__(self) -> None:
        self.next = 1
        """The number of the next message."""
        self.acknowledged = 0
        """The number up to which the peer has acknowledged all messages."""
        self.kept: deque[Envelope] = deque()
        """The messages that are not acknowledged, in order."""
        self.kept_bytes = 0
        """Their weight."""
        self.sent_at = 0.0
        """When the oldest of them was last sent."""
        self.owed_since = 0.0
        """Since when none of them has been acknowledged."""

    def keep(self, envelope: Envelope, now: float) -> int:
        """Keep a message, whose number is `next`, until it is acknowledged. Returns its weight."""
        if not self.kept:
            self.sent_at = self.owed_since = now
        self.kept.append(envelope)
        size = weight(envelope)
        self.kept_bytes += size
        self.next += 1
        return size

    def acknowledge(self, number: int, now: float) -> None:
        """The peer has everything up to `number`."""
        if number <= self.acknowledged or number >= self.next:
            return
        self.acknowledged = number
        kept = self.kept
        if number == self.next - 1:
            kept.clear()
            self.kept_bytes = 0
        while kept and kept[0].number <= number:
            self.kept_bytes -= weight(kept.popleft())
        self.sent_at = self.owed_since = now


class Incoming:
    """The receiving end of one lane."""

    __slots__ = ("contiguous", "held")

    def __init__(self) -> None:
        self.contiguous = 0
        """The number up to which all messages have come."""
        self.held: dict[int, Envelope] = {}
        """The messages that came before one of a lower number, by number."""

    def accept(self, envelope: Envelope) -> list[Envelope]:
        """Take a message. Returns those to handle now, in order: none for a duplicate or early one, several if a gap closes."""
        number = envelope.number
        if number != self.contiguous + 1:
            if number > self.contiguous and len(self.held) < HELD_MESSAGES:
                self.held[number] = envelope
            return []
        self.contiguous = number
        if not self.held:
            return [envelope]
        ready = [envelope]
        while (early := self.held.pop(self.contiguous + 1, None)) is not None:
            ready.append(early)
            self.contiguous += 1
        return ready

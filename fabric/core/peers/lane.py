"""The lane: order, dedup, loss detection, credit and replay between two incarnations, whatever the broker does.

Each lane numbers its messages from 1. The receiver returns its highest contiguous number in whatever goes back and holds what
came early; the sender keeps what is not acknowledged and sends it again on a gap, on a reconnect, or after a second. (Selective
parts of TCP and QUIC, over messages instead of bytes; EIP: resequencer, idempotent receiver, guaranteed delivery.)
"""

from __future__ import annotations

from collections import deque

from fabric.envelope import Envelope, weight

HELD_MESSAGES = 4096
"""How many messages may wait behind a gap; what comes beyond is dropped and sent again."""


class Outgoing:
    """The sending end of one lane."""

    __slots__ = ("acknowledged", "kept", "kept_bytes", "next", "owed_since", "sent_at")

    def __init__(self) -> None:
        self.next = 1
        self.acknowledged = 0
        self.kept: deque[Envelope] = deque()
        self.kept_bytes = 0
        self.sent_at = 0.0  # when the oldest kept message was last sent
        self.owed_since = 0.0  # since when nothing of what is kept was acknowledged

    def keep(self, envelope: Envelope, now: float) -> int:
        """Remember a message until it is acknowledged. Its number is `next`. Returns its weight."""
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
        self.held: dict[int, Envelope] = {}

    def accept(self, envelope: Envelope) -> list[Envelope]:
        """What may be acted on now, in order: nothing for a repeat or an early message, more than one when a gap closes."""
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

"""The broker's copies of work taken: acked once the edge has acknowledged, on a lane, that it knows the taker."""

from __future__ import annotations

from collections import deque

from fabric.core.effects import Ack, Effect, Nack
from fabric.core.pair import Pair
from fabric.envelope import Lane


class Copies:
    """Deliveries by the lane message whose acknowledgement settles them. Empty on a broker that keeps nothing."""

    def __init__(self, out: list[Effect]) -> None:
        self._out = out
        self._waiting: dict[str, deque[tuple[Lane, int, int]]] = {}

    def hold(self, peer: str, lane: Lane, number: int, delivery: int) -> None:
        """Settle `delivery` when `peer` has acknowledged message `number` of that lane. Delivery 0 is none."""
        if delivery:
            self._waiting.setdefault(peer, deque()).append((lane, number, delivery))

    def advanced(self, pair: Pair) -> None:
        """The pair has moved on."""
        waiting = self._waiting.pop(pair.peer, None)
        if not waiting:
            return
        rest: deque[tuple[Lane, int, int]] = deque()
        for lane, number, delivery in waiting:
            out = pair.data_out if lane is Lane.DATA else pair.control_out
            if number <= out.acknowledged:
                self._out.append(Ack(delivery))
            else:
                rest.append((lane, number, delivery))
        if rest:
            self._waiting[pair.peer] = rest

    def lost(self, peer: str, *, gone: bool) -> None:
        """The pair is reset: nobody wants a dead edge's work any more, a living one's goes to another."""
        for _, _, delivery in self._waiting.pop(peer, ()):
            self.settle(delivery, done=gone)

    def settle(self, delivery: int, *, done: bool) -> None:
        """Ack (done) or nack a delivery now."""
        if delivery:
            self._out.append(Ack(delivery) if done else Nack(delivery))

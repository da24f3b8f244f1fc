"""Holds each broker delivery until the edge acknowledges the lane message about it, then acks or nacks it."""

from __future__ import annotations

from collections import deque
from typing import Any

from fabric.core.effects import Ack, Effect, Nack
from fabric.core.peers.pair import Pair
from fabric.envelope import Lane


class PendingDeliveries:
    """The deliveries of one bridge, by the lane message whose acknowledgement settles them."""

    def __init__(self, out: list[Effect]) -> None:
        self.answered: dict[str, int] = {}
        """The number of the answer on its data lane, for each exchange whose edge has not acknowledged the answer.

        Until then, a copy of the exchange may come, and is settled with the answer.
        """
        self._out = out
        self._waiting: dict[tuple[str, Lane], deque[tuple[int, int, str]]] = {}

    def amounts(self) -> dict[str, Any]:
        """See BridgeSnapshot."""
        return {"deliveries": sum(map(len, self._waiting.values())), "unacknowledged_answers": len(self.answered)}

    def hold(self, peer: str, lane: Lane, number: int, delivery: int, *, answered: str = "") -> None:
        """Settle `delivery` (0: none) when `peer` has acknowledged message `number` of that lane, the answer to `answered`."""
        if answered:
            self.answered[answered] = number
        elif not delivery:
            return
        waiting = self._waiting.get((peer, lane))
        if waiting is None:
            waiting = self._waiting[peer, lane] = deque()
        waiting.append((number, delivery, answered))

    def advanced(self, pair: Pair) -> None:
        """The peer of a pair has acknowledged more."""
        for lane, out in ((Lane.DATA, pair.data_out), (Lane.CONTROL, pair.control_out)):
            waiting = self._waiting.get((pair.peer, lane))
            if waiting is None:
                continue
            while waiting and waiting[0][0] <= out.acknowledged:
                _, delivery, answered = waiting.popleft()
                self.settle(delivery, done=True)
                self.answered.pop(answered, None)
            if not waiting:
                del self._waiting[pair.peer, lane]

    def lost(self, peer: str, *, gone: bool) -> None:
        """The pair with an edge is reset. gone: the edge is dead, and its work dropped; that of a living one is given back."""
        for lane in (Lane.DATA, Lane.CONTROL):
            for _, delivery, answered in self._waiting.pop((peer, lane), ()):
                self.settle(delivery, done=gone)
                self.answered.pop(answered, None)

    def settle(self, delivery: int, *, done: bool) -> None:
        """Ack (done) or nack a delivery now; 0 for none."""
        if delivery:
            self._out.append(Ack(delivery) if done else Nack(delivery))

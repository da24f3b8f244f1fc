"""Requests that came back because no bridge had room for them: the first that came back is sent first.

Above it: correlation.py. Below it: the exchange.
"""

from __future__ import annotations

from fabric.core.edge.exchange import Exchange


class ReturnedWork:
    """Exchanges that came back, by server, in order of return; some have been sent again, or have ended, since."""

    def __init__(self) -> None:
        self.servers: dict[str, dict[str, Exchange]] = {}

    def add(self, exchange: Exchange) -> None:
        """An exchange has come back."""
        self.servers.setdefault(exchange.request.server, {})[exchange.id] = exchange

    @property
    def count(self) -> int:
        """How many there are in all."""
        return sum(map(len, self.servers.values()))

    def waiting_bytes(self, server: str) -> int:
        """The size of the requests that wait for this server."""
        return sum(len(exchange.body) for exchange in self.servers.get(server, {}).values() if not exchange.owner)

    def slot_freed(self, ended: Exchange) -> Exchange | None:
        """An exchange has ended. Returns the one to send in its place, before anything new; None if none waits."""
        server = ended.request.server
        waiting = self.servers.get(server, {})
        waiting.pop(ended.id, None)
        oldest = None
        while waiting and ended.owner:
            exchange = waiting.pop(next(iter(waiting)))
            if not exchange.owner and not exchange.attempt_open:
                oldest = exchange
                break
        if not waiting:
            self.servers.pop(server, None)
        return oldest

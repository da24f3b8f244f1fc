"""One heap of deadlines for a whole core: set, cleared and moved in constant time, and never larger than what is live."""

from __future__ import annotations

import heapq


class Deadlines:
    """When each key is due. A key has one deadline; setting it again moves it. Times are seconds of the caller's clock."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: str, due: float) -> None:
        """`key` is due at `due`."""
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        if len(self._heap) > 64 + 4 * len(self._due):  # most entries are stale: answered long before their deadline
            self._heap = [(when, name) for name, when in self._due.items()]
            heapq.heapify(self._heap)

    def clear(self, key: str) -> None:
        """`key` is not due any more; unknown keys are fine."""
        self._due.pop(key, None)

    def next(self) -> float | None:
        """The earliest deadline, or None."""
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) == due:
                return due
            heapq.heappop(self._heap)
        return None

    def expired(self, now: float) -> list[str]:
        """Take out every key due by `now`, earliest first."""
        keys = []
        while (due := self.next()) is not None and due <= now:
            _, key = heapq.heappop(self._heap)
            del self._due[key]
            keys.append(key)
        return keys

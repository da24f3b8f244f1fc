"""The deadlines of a core: set, moved and cleared in nearly constant time, in memory for those that are set alone."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

Key = TypeVar("Key")
"""Hashable and ordered: of deadlines that come at the same time, that of the smallest key is first."""


class Delay:
    """When each key is due, where all are due the same time after they were set. They stay in order, so no heap is needed."""

    def __init__(self, seconds: float) -> None:
        self.soonest = float("inf")
        self._seconds = seconds
        self._due: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: str, now: float) -> None:
        """Make `key`, which is not set, due a delay from now."""
        due = self._due[key] = now + self._seconds
        if due < self.soonest:
            self.soonest = due

    def clear(self, key: str) -> None:
        """Make `key` due no more; an unknown key changes nothing."""
        self._due.pop(key, None)

    def next(self) -> float | None:
        """The earliest deadline, or None."""
        due = next(iter(self._due.values()), None)
        self.soonest = float("inf") if due is None else due
        return due

    def expired(self, now: float) -> list[str]:
        """Take out every key due by `now`, earliest first."""
        keys = []
        for key, due in self._due.items():
            if due > now:
                break
            keys.append(key)
        for key in keys:
            del self._due[key]
        return keys


class Deadlines(Generic[Key]):
    """When each key is due. A key has one deadline; setting it again moves it. Times are seconds of the caller's clock."""

    def __init__(self) -> None:
        self.soonest = float("inf")
        """No deadline is earlier; the earliest may be later than this."""
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []

    def __len__(self) -> int:
        return len(self._due)

    @property
    def stale(self) -> int:
        """How many entries were cleared or moved and still take room."""
        return len(self._heap) - len(self._due)

    def set(self, key: Key, due: float) -> None:
        """Make `key` due at `due`."""
        self._due[key] = due
        if due < self.soonest:
            self.soonest = due
        heapq.heappush(self._heap, (due, key))
        if len(self._heap) > 64 + 4 * len(self._due):  # most entries are stale: answered long before their deadline
            self._heap = [(when, name) for name, when in self._due.items()]
            heapq.heapify(self._heap)

    def clear(self, key: Key) -> None:
        """Make `key` due no more; an unknown key changes nothing."""
        self._due.pop(key, None)

    def next(self) -> float | None:
        """The earliest deadline, or None."""
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) == due:
                self.soonest = due
                return due
            heapq.heappop(self._heap)
        self.soonest = float("inf")
        return None

    def expired(self, now: float) -> list[Key]:
        """Take out every key due by `now`, earliest first."""
        keys = []
        while (due := self.next()) is not None and due <= now:
            _, key = heapq.heappop(self._heap)
            del self._due[key]
            keys.append(key)
        return keys

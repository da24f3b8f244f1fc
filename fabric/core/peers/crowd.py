"""Who is there, as one number that two processes can compare: the same number means that they know of the same workers.

A process that has just come asks everyone by `hello`. It need not wait a full lease to be certain that nobody is missing: once
it has heard exactly those workers whom a process that has seen a full lease knows of, it knows as much as that one does.
"""

from __future__ import annotations

from hashlib import blake2b


def mark(incarnation: str) -> int:
    """The number of one worker, of 64 bits. Those of several are combined by exclusive or, in any order."""
    return int.from_bytes(blake2b(incarnation.encode(), digest_size=8).digest(), "big")


class Crowd:
    """The workers that one process knows of, itself left out; and what others, who have seen a full lease, know of."""

    def __init__(self, me: str) -> None:
        self._me = mark(me)
        self._members: dict[str, int] = {}
        self._sum = 0
        self._seen_by_others: set[int] = set()

    def add(self, incarnation: str) -> None:
        """A worker has announced itself."""
        if incarnation not in self._members:
            self._members[incarnation] = number = mark(incarnation)
            self._sum ^= number

    def remove(self, incarnation: str) -> None:
        """It has left, or was given up."""
        self._sum ^= self._members.pop(incarnation, 0)

    def number(self, *, with_me: bool) -> int:
        """All workers as one number; an observer leaves itself out."""
        return self._sum ^ self._me if with_me else self._sum

    def compare(self, seen: int) -> None:
        """Take in what another process knows of."""
        self._seen_by_others.add(seen)

    @property
    def complete(self) -> bool:
        """Whether some other process knows of exactly the same workers; whether it has heard of us by then does not matter."""
        return not self._seen_by_others.isdisjoint((self._sum, self._sum ^ self._me))

    def forget(self) -> None:
        """What the others know has been compared, or is out of date."""
        self._seen_by_others.clear()

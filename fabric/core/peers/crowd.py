"""A crowd is the set of workers that a process knows, as one number: two processes with equal numbers know the same workers.

A new process sends `hello`, and all workers announce themselves. The new process need not wait a full lease to be certain that
no worker is missing: once it knows exactly the workers that a process knows which has seen a full lease, its list is complete.
"""

from __future__ import annotations

from hashlib import blake2b


def mark(incarnation: str) -> int:
    """The number of one worker, 64 bits. The numbers of several are combined by exclusive or, in any order."""
    return int.from_bytes(blake2b(incarnation.encode(), digest_size=8).digest(), "big")


class Crowd:
    """The workers that one process knows, itself left out; and the numbers that others have announced."""

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
        """A worker has left, or was given up."""
        self._sum ^= self._members.pop(incarnation, 0)

    def number(self, *, with_me: bool) -> int:
        """The number of all known workers. with_me: whether this process is one, as an observer is not."""
        return self._sum ^ self._me if with_me else self._sum

    def compare(self, seen: int) -> None:
        """Another process has announced the number of the workers that it knows."""
        self._seen_by_others.add(seen)

    @property
    def complete(self) -> bool:
        """Whether another process knows exactly the same workers, this process itself included or not yet."""
        return not self._seen_by_others.isdisjoint((self._sum, self._sum ^ self._me))

    def forget(self) -> None:
        """Forget the numbers of the others, which are out of date."""
        self._seen_by_others.clear()

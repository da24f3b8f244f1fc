"""One direction of a simulated link: a far end that takes nothing for a while, and what waits for it meanwhile, in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sim.world import World

PIPE_BYTES = 1_000
"""What the system takes for a far end that does not read; all frames of which are in there may have been read."""
BEHIND_BYTES = 4_000
"""With more than this waiting beyond that, a far end is behind."""
STALL_TIMEOUT = 60.0
"""Seconds after which one that has taken nothing is given up."""


class Wire:
    """Delivers at once, unless the far end is stopped. `behind`, `caught_up` and `given_up` say what the runtime would."""

    def __init__(
        self, world: World, behind: Callable[[int], None], caught_up: Callable[[], None], given_up: Callable[[], None]
    ) -> None:
        self.stopped = False
        self.bytes = 0
        self.most = 0  # that ever waited
        self._world = world
        self._behind, self._caught_up, self._given_up = behind, caught_up, given_up
        self.waiting: deque[tuple[Callable[[], None], int]] = deque()
        self._told = False
        self._stops = 0

    @property
    def unsent(self) -> int:
        """How many of those sent last have surely not left."""
        within, sizes = 0, [size for _, size in self.waiting]
        while sizes and within < PIPE_BYTES:
            within += sizes.pop(0)
        return len(sizes)

    def send(self, deliver: Callable[[], None], size: int) -> None:
        """Something of this size is sent; `deliver` has it arrive."""
        if not self.stopped:
            deliver()
            return
        self.waiting.append((deliver, size))
        self.bytes += size
        self.most = max(self.most, self.bytes)
        if self.bytes > PIPE_BYTES + BEHIND_BYTES and not self._told:
            self._told = True
            self._behind(self.bytes)

    def stop(self) -> None:
        """The far end takes nothing more."""
        if not self.stopped:
            self.stopped = True
            self._stops += 1
            self._world.after(STALL_TIMEOUT, self._judge, self._stops)

    def go(self) -> None:
        """It takes all that waits, and what comes."""
        self.stopped = False
        while self.waiting and not self.stopped:
            deliver, size = self.waiting.popleft()
            self.bytes -= size
            deliver()
        if self._told and not self.waiting:
            self._told = False
            self._caught_up()

    def _judge(self, stop: int) -> None:
        if self.stopped and stop == self._stops and self.bytes > PIPE_BYTES:
            self._given_up()

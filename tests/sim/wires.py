"""One direction of a simulated link whose far end may stop reading, and the frames that wait for it meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sim.world import World

PIPE_BYTES = 1_000
"""Bytes that the system buffers for a far end that does not read; the far end may have read any frame in that buffer."""
BEHIND_BYTES = 4_000
"""With more than this many bytes waiting beyond the buffer, a far end is behind."""
STALL_TIMEOUT = 60.0
"""Seconds after which a far end that has read nothing is given up."""


class Wire:
    """Delivers frames at once, unless the far end is stopped.

    It calls `behind`, `caught_up` and `given_up` where the runtime would report these to a core.
    """

    def __init__(
        self, world: World, behind: Callable[[int], None], caught_up: Callable[[], None], given_up: Callable[[], None]
    ) -> None:
        self.stopped = False
        self.bytes = 0
        self.most = 0  # the most bytes that ever waited
        self._world = world
        self._behind, self._caught_up, self._given_up = behind, caught_up, given_up
        self.waiting: deque[tuple[Callable[[], None], int]] = deque()
        self._is_behind = False
        self._stops = 0

    @property
    def unsent(self) -> int:
        """How many of the frames that were sent last have surely not left."""
        within, sizes = 0, [size for _, size in self.waiting]
        while sizes and within < PIPE_BYTES:
            within += sizes.pop(0)
        return len(sizes)

    def send(self, deliver: Callable[[], None], size: int) -> None:
        """Send a frame of this size; `deliver` makes it arrive."""
        if not self.stopped:
            deliver()
            return
        self.waiting.append((deliver, size))
        self.bytes += size
        self.most = max(self.most, self.bytes)
        if self.bytes > PIPE_BYTES + BEHIND_BYTES and not self._is_behind:
            self._is_behind = True
            self._behind(self.bytes)

    def stop(self) -> None:
        """The far end stops reading."""
        if not self.stopped:
            self.stopped = True
            self._stops += 1
            self._world.after(STALL_TIMEOUT, self._judge, self._stops)

    def go(self) -> None:
        """The far end reads again: first all frames that wait, then each as it comes."""
        self.stopped = False
        while self.waiting and not self.stopped:
            deliver, size = self.waiting.popleft()
            self.bytes -= size
            deliver()
        if self._is_behind and not self.waiting:
            self._is_behind = False
            self._caught_up()

    def _judge(self, stop: int) -> None:
        if self.stopped and stop == self._stops and self.bytes > PIPE_BYTES:
            self._given_up()

"""Takes snapshots of a core for the exporter of metrics, which works on a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

from fabric.core.peers.snapshot import MemberSnapshot

SHARED_FOR = 0.1
"""Seconds for which a snapshot is kept: all metrics of one export are read from the same."""
LOOP_WAIT = 2.0
"""Seconds that the exporter waits for the event loop; a process that is that busy exports nothing this time."""


S = TypeVar("S", bound=MemberSnapshot)


class Snapshots(Generic[S]):
    """Made on the event loop of the core; `newest` is called on any other thread."""

    def __init__(self, take: Callable[[], S]) -> None:
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._newest: S | None = None
        self._taken_at = float("-inf")

    def newest(self) -> S | None:
        """The core now; None where its event loop is too busy to say."""
        if monotonic() - self._taken_at > SHARED_FOR:
            asked = asyncio.run_coroutine_threadsafe(self._on_loop(), self._loop)
            try:
                self._newest = asked.result(LOOP_WAIT)
            except TimeoutError:
                asked.cancel()
                self._newest = None
            self._taken_at = monotonic()
        return self._newest

    async def _on_loop(self) -> S:
        return self._take()

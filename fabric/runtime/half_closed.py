"""Keeps half-closed links open until their last answers are sent: one timer for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_LOOK_EVERY = 0.02  # the core tells nobody that a link has nothing open any more


class HalfClosed:
    """The links of one edge whose clients have ended their input. owes: whether a link owes an answer now."""

    def __init__(self, owes: Callable[[str], bool]) -> None:
        self._owes = owes
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def answered(self, link: str) -> None:
        """Wait until the link owes no answer. May be cancelled."""
        if not self._owes(link):
            return
        self._waiting[link] = waiting = asyncio.get_running_loop().create_future()
        if self._timer is None:
            self._wait()
        try:
            await waiting
        finally:
            del self._waiting[link]

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_LOOK_EVERY, self._look)

    def _look(self) -> None:
        self._timer = None
        for link, waiting in self._waiting.items():
            if not waiting.done() and not self._owes(link):
                waiting.set_result(None)
        if self._waiting:
            self._wait()

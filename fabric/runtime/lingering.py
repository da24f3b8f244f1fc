"""Links whose clients have said all and are still owed answers: one look at the open exchanges for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from contextlib import suppress

_LOOK_EVERY = 0.02  # the core tells nobody that a link has nothing open any more


class Lingering:
    """Those of one edge. owing: the links that owe an answer now."""

    def __init__(self, owing: Callable[[], Set[str]]) -> None:
        self._owing = owing
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def answered(self, link: str, timeout: float) -> None:
        """Wait until it owes nothing, at most `timeout` seconds."""
        if timeout <= 0 or link not in self._owing():
            return
        self._waiting[link] = waiting = asyncio.get_running_loop().create_future()
        if self._timer is None:
            self._wait()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await waiting
        finally:
            del self._waiting[link]

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_LOOK_EVERY, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._waiting:
            owing = self._owing()
            for link, waiting in self._waiting.items():
                if link not in owing and not waiting.done():
                    waiting.set_result(None)
            self._wait()

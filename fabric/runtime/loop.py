"""Drives a core: feeds it events, performs its effects, and keeps one timer for all its deadlines.

Nothing else calls `handle` and `expire` of a core. Above it: the node. Below it: any core, as the Protocol describes it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sized
from time import monotonic
from typing import Protocol

from fabric.core.effects import Effect
from fabric.core.events import Event
from fabric.core.peers.announcement import Announcement
from fabric.core.peers.snapshot import MemberSnapshot

TIMER_GRAIN = 0.0005
"""Seconds to add to a delay: uvloop rounds it to the next millisecond, and a timer must not run before its deadline."""

Perform = Callable[[Effect], None]
"""Performs one effect, without blocking; may feed further events."""


class Core(Protocol):
    """A core, as its drivers call it: see fabric/core/__init__.py. The loop uses the first four, the node the others."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Handle one event."""
        ...

    def expire(self, now: float) -> list[Effect]:
        """Act on every deadline that has passed."""
        ...

    def next_deadline(self) -> float:
        """The time by which `expire` is called at the latest."""
        ...

    @property
    def soonest(self) -> float:
        """A lower bound of all deadlines; cheaper than `next_deadline`."""
        ...

    me: str
    unsent: Sized
    """The peers that `transmit` has messages for."""

    def transmit(self) -> list[Effect]:
        """The messages that wait in the lanes, as packs."""
        ...

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye to all peers."""
        ...

    def snapshot(self, now: float) -> MemberSnapshot:
        """The state of the core now."""
        ...

    def announcements(self) -> list[tuple[str, Announcement]]:
        """The announcements of all other members, by incarnation."""
        ...


class Loop:
    """Feeds events to a core one at a time, in order, and performs the effects of each before the next event."""

    def __init__(self, core: Core, perform: Perform, outgoing: Callable[[], None]) -> None:
        """outgoing: called in the turn after events, which may have left messages to transmit."""
        self._core = core
        self._perform = perform
        self._outgoing = outgoing
        self._events: deque[Event] = deque()
        self._busy = False
        self._settling = False
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()
        """Fails when this process must not go on: with a FabricError for people; any other error is a bug."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._schedule()

    def now(self) -> float:
        """Seconds of the core's clock. uvloop's own counts whole milliseconds, which is too coarse for a trace."""
        return monotonic()

    def feed(self, event: Event) -> None:
        """Give the core an event. While an effect is performed, the event waits for its turn."""
        if self._busy:
            self._events.append(event)
            return
        self._busy = True
        try:
            for effect in self._core.handle(event, monotonic()):
                self._perform(effect)
            while self._events:
                for effect in self._core.handle(self._events.popleft(), monotonic()):
                    self._perform(effect)
        except Exception as error:
            self.fail(error)
            raise
        finally:
            self._busy = False
        if not self._settling:
            self._settling = True
            self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        """Transmit, and set the timer, once for all events of a turn."""
        self._settling = False
        self._outgoing()
        if self._core.soonest < self._timer_at:
            self._schedule()

    def fail(self, error: BaseException) -> None:
        """Report that the process cannot go on. Peers notice that a process ends, but not that it receives nothing."""
        if not self.failed.done():
            self.failed.set_exception(error)

    def ended(self, task: asyncio.Task[None]) -> None:
        """Report the end of a task that this process needs; `failed` fails if the task did."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def act(self, decide: Callable[[float], list[Effect]]) -> None:
        """Perform the effects of a decision without an event, such as `leave`."""
        self._act(decide(monotonic()))
        self._outgoing()

    def close(self) -> None:
        """Stop the timer: no deadline is acted on any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = float("-inf")

    def _act(self, effects: list[Effect]) -> None:
        for effect in effects:
            self._perform(effect)

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._core.next_deadline()
        # What has come in meanwhile is read first, so that no lease is judged by our own lateness: one turn of the loop.
        delay = max(0.0, self._timer_at - monotonic()) + TIMER_GRAIN
        self._timer = self._loop.call_later(delay, self._loop.call_soon, self._expire)

    def _expire(self) -> None:
        if self._timer_at == float("-inf"):
            return
        self._busy = True
        try:
            self._act(self._core.expire(monotonic()))
        except Exception as error:
            self.fail(error)
            raise
        finally:
            self._busy = False
        self._schedule()
        if self._events:
            self.feed(self._events.popleft())
        else:
            self._outgoing()

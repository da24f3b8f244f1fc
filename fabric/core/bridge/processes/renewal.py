"""A restart that a person asks for: its old processes, the work that they still have to finish, and its result.

New processes serve before old ones are stopped. An old shared process finishes the calls that must not run twice; a call that
may be repeated runs again in a new process if it takes long. A session keeps its process until the session ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from fabric.core.bridge.job import Job
from fabric.core.bridge.processes.child import Child
from fabric.core.peers.announcement import Restart

FINISH_IN = 10.0
"""Seconds after which repeatable work of an old process is run again in a new one."""

_REMEMBERED = 16  # tokens of requests: each is repeated every second until the restart is announced


class Renewal:
    """The newest restart of one server, and the processes that restarts have retired."""

    def __init__(self) -> None:
        self.under_way = False
        """Whether a restart has begun, and its new processes do not serve yet."""
        self.making_room = False
        """Whether the shared process has to end before the new one can start."""
        self._restart: Restart | None = None
        self._seen = deque[str](maxlen=_REMEMBERED)
        self._retired: dict[str, tuple[Child, float]] = {}  # by id, with the time when it was retired

    @property
    def retired_count(self) -> int:
        """How many retired processes are still there."""
        return len(self._retired)

    def begin(self, token: str, children: Iterable[Child]) -> bool:
        """Begin a restart, if the request with this token is new: all present processes are old. Returns whether it is new."""
        if token in self._seen:
            return False
        self._seen.append(token)
        self._restart = Restart(token=token)
        self.under_way, self.making_room = True, False
        for child in children:
            child.old = True
        return True

    def done(self, failure: str = "") -> None:
        """The restart is over: new processes serve, or they do not for this reason."""
        if self._restart is not None and self.under_way:
            self._restart = msgspec.structs.replace(self._restart, done=True, failure=failure)
        self.under_way = self.making_room = False

    def failed(self, failure: str, children: Iterable[Child]) -> None:
        """The new process has failed, for this reason: the old ones stay in service."""
        for child in children:
            child.old = False
        self.done(failure)

    def make_room(self) -> None:
        """The shared process has to end before the new one can start."""
        self.making_room = True

    def room_made(self) -> None:
        """The new process is started."""
        self.making_room = False

    def retire(self, child: Child, now: float) -> None:
        """Retire a process: it gets no new work."""
        self._retired[child.id] = (child, now)

    def kept(self, child: Child) -> bool:
        """Whether a process is retired and still there."""
        return child.id in self._retired

    def forget(self, child: Child) -> None:
        """The process has ended."""
        self._retired.pop(child.id, None)

    def finished(self, now: float) -> list[Child]:
        """The retired processes that have no work left."""
        return [
            child
            for child, _ in self._retired.values()
            if not child.jobs and (self.making_room or now >= child.speaker.awaits_input_until)
        ]

    def overdue(self, now: float) -> list[Job]:
        """The jobs that have run long in retired processes and may be run again elsewhere."""
        late = [child for child, since in self._retired.values() if now - since >= FINISH_IN]
        return [job for child in late for job in child.jobs.values() if job.queued and job.repeatable]

    def describe(self, children: Iterable[Child]) -> Restart | None:
        """The newest restart, to be announced; None if there was none."""
        if self._restart is None:
            return None
        old = [child for child in children if child.old]
        sessions = sum(1 for child in old if child.session)
        calls = sum(len(child.jobs) for child in old if not child.session)
        return msgspec.structs.replace(self._restart, sessions=sessions, calls=calls)

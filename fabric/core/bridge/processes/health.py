"""The health of one server, by its first answer, its checks, and the ends of its processes.

    unknown > checking <> healthy <> degraded > unhealthy > degraded
                   └───────────────────────────────┘

A failed check degrades a server, and `down` of them in a row make it unhealthy; `up` passed checks in a row make it healthy
again. A server whose process ends in service is checking again if the next one takes long to answer. A server that checks have
brought down is degraded once its new process answers, and that answer counts as the first of the `up` passed checks. If a
command checks the server, only that command can bring it back.
"""

from __future__ import annotations

import msgspec

from fabric.core.peers.announcement import Health


class Checks(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one server's checks."""

    enabled: bool = True
    """Whether it is checked at all."""
    interval: float = 30.0
    """Seconds from the end of one check to the next."""
    timeout: float = 5.0
    """Seconds until a check has failed."""
    down: int = 3
    """Failed checks in a row that make the server unhealthy."""
    up: int = 2
    """Passed checks in a row that make it healthy again."""
    command: bool = False
    """Whether a command checks it, instead of requests to it."""
    ping: bool = True
    """Whether it may be pinged before the handshake."""
    patience: float = 300.0
    """Seconds that a request may run during which a server that answers no check counts as busy, not as down."""


class Condition:
    """The health of one server."""

    def __init__(self, checks: Checks) -> None:
        self.health = Health.UNKNOWN
        self.serves = False
        """Whether it may get work."""
        self.reason = ""
        """Why it is not healthy; empty if it is."""
        self._checks = checks
        self._failed = 0  # in a row
        self._passed = 0  # in a row
        self._brought_down = False  # by checks

    @property
    def down(self) -> bool:
        """Whether it is down until the command that checks it passes again."""
        return self._brought_down and self._checks.command

    def begun(self) -> None:
        """The first request was sent to a process of it."""
        if self.health is Health.UNKNOWN:
            self._become(Health.CHECKING, "")

    def waiting(self) -> None:
        """The process that is to replace the one in service takes long to start."""
        if self.serves:
            self._become(Health.CHECKING, "")

    def answered(self) -> None:
        """A new process has answered its first request."""
        if self.down:
            return
        if self._brought_down:
            self._brought_down = False
            self._become(Health.DEGRADED, self.reason)
        elif self.health is not Health.DEGRADED:
            self._become(Health.HEALTHY, "")
        self.passed()

    def passed(self) -> None:
        """It passed a check."""
        self._failed = 0
        self._passed += 1
        if (self.health is Health.DEGRADED or self.down) and self._passed >= self._checks.up:
            self._brought_down = False
            self._become(Health.HEALTHY, "")

    def failed(self, reason: str, *, busy: bool) -> None:
        """It failed a check. busy: a request runs that may be the reason, and that is not to be interrupted."""
        self._passed = 0
        self._failed += 1
        self._brought_down = self.down or (self._failed >= self._checks.down and not busy)
        self._become(Health.UNHEALTHY if self._brought_down else Health.DEGRADED, reason)

    def ended(self, reason: str) -> None:
        """It did not start, did not answer its first request, or ended too soon."""
        self._become(Health.UNHEALTHY, reason)

    def _become(self, health: Health, reason: str) -> None:
        self.health, self.reason = health, reason
        self.serves = health in (Health.HEALTHY, Health.DEGRADED)

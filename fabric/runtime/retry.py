"""Connects to brokers and servers, and tries again what failed, by one policy for all connections of a process.

The pauses grow from `initial` by `factor` up to `longest`; chance takes up to the share `jitter` off each, so that processes
that lost the same peer at the same time do not come back at the same time.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

import tenacity

from fabric.config.settings.retry import Failure, RetryPolicy
from fabric.core.telemetry_record import ConnectAttempt
from fabric.errors import (
    BrokerCertificateError,
    BrokerDenied,
    BrokerProtocolError,
    BrokerRefused,
    BrokerReset,
    BrokerTimeout,
    LinkBroken,
    LinkCertificateError,
    LinkHandshakeError,
    LinkRefused,
    LinkTimeout,
    TransportError,
)

T = TypeVar("T")

Peer = Literal["broker", "server"]

_FAILURES: tuple[tuple[Failure, tuple[type[TransportError], ...]], ...] = (
    ("certificate", (BrokerCertificateError, LinkCertificateError)),  # before the errors that they are kinds of
    ("protocol", (BrokerProtocolError, LinkHandshakeError)),
    ("denied", (BrokerDenied,)),
    ("timeout", (BrokerTimeout, LinkTimeout)),
    ("reset", (BrokerReset, LinkBroken)),
    ("refused", (BrokerRefused, LinkRefused)),
)


class Dialer:
    """Opens the connections of one process. on_attempt: called after each attempt."""

    def __init__(
        self, policy: RetryPolicy | None = None, on_attempt: Callable[[ConnectAttempt], None] = lambda _: None
    ) -> None:
        self._policy = policy or RetryPolicy()
        self._on_attempt = on_attempt
        self._reached: set[tuple[Peer, str]] = set()

    async def dial(
        self,
        peer: Peer,
        name: str,
        connect: Callable[[], Awaitable[T]],
        *,
        max_attempts: int = 0,
        on_failure: Callable[[int, TransportError], None] = lambda _number, _error: None,
    ) -> T:
        """The result of `connect`, once it succeeds.

        name: of the peer, for `on_attempt`. max_attempts: a bound besides the policy's; 0 for none. on_failure: called with the
        number of an attempt and its error, if another attempt follows. Raises the error of the last attempt.
        """
        policy = self._policy
        bounds = [policy.attempts, max_attempts, 0 if (peer, name) in self._reached else policy.first_attempts]
        attempts = min(filter(None, bounds), default=0) if policy.enabled else 1
        number = 0

        async def attempt() -> T:
            nonlocal number
            number += 1
            try:
                opened = await connect()
            except TransportError as error:
                self._on_attempt(ConnectAttempt(peer, name, number, failure(error)))
                raise
            self._on_attempt(ConnectAttempt(peer, name, number))
            self._reached.add((peer, name))
            return opened

        def again(error: BaseException) -> bool:
            return isinstance(error, TransportError) and failure(error) in policy.on

        def pausing(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome is not None else None
            if isinstance(error, TransportError):
                on_failure(number, error)

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(again),
            stop=tenacity.stop_after_attempt(attempts) if attempts else tenacity.stop_never,
            wait=pauses(policy),
            before_sleep=pausing,
            reraise=True,
        )
        return await retrying(attempt)


def failure(error: TransportError) -> Failure:
    """The kind of failure that an error of an attempt shows."""
    return next((name for name, kinds in _FAILURES if isinstance(error, kinds)), "other")


def pauses(policy: RetryPolicy) -> Callable[[tenacity.RetryCallState], float]:
    """Returns the seconds to wait after an attempt."""
    growing = tenacity.wait_exponential(multiplier=policy.initial, exp_base=policy.factor, max=policy.longest)

    def wait(state: tenacity.RetryCallState) -> float:
        return growing(state) * random.uniform(1 - policy.jitter, 1)  # noqa: S311 (no secret depends on it)

    return wait

"""The Dialer: how long its pauses are, which failures it retries, and that it reports each attempt."""

from __future__ import annotations

from typing import get_args

import pytest
import tenacity

from fabric.config.settings.retry import Failure, RetryPolicy
from fabric.core.telemetry_record import ConnectAttempt
from fabric.errors import (
    BrokerClosed,
    BrokerDenied,
    BrokerError,
    BrokerRefused,
    BrokerTimeout,
    LinkCertificateError,
    LinkHandshakeError,
    LinkRefused,
    TransportError,
)
from fabric.runtime.retry import Dialer, failure, pauses

pytestmark = pytest.mark.requirement("R05")

QUICK = RetryPolicy(initial=0.001, longest=0.002)


class Peer:
    """A peer to dial: it fails in these ways, one after the other, and then accepts."""

    def __init__(self, *failures: TransportError, policy: RetryPolicy = QUICK) -> None:
        self.failures = list(failures)
        self.attempts: list[ConnectAttempt] = []
        self.again: list[int] = []
        self.dialer = Dialer(policy, self.attempts.append)

    async def connect(self) -> str:
        if self.failures:
            raise self.failures.pop(0)
        return "open"

    async def open(self, most: int = 0) -> str:
        return await self.dialer.dial(
            "broker", "nats", self.connect, max_attempts=most, on_failure=lambda n, _: self.again.append(n)
        )


async def test_a_dial_is_repeated_until_it_succeeds_and_each_attempt_is_reported() -> None:
    peer = Peer(BrokerRefused("no"), BrokerTimeout("no"), BrokerDenied("no"))
    assert await peer.open() == "open"
    outcomes = ["refused", "timeout", "denied", ""]
    assert peer.attempts == [ConnectAttempt("broker", "nats", number, outcome) for number, outcome in enumerate(outcomes, 1)]
    assert peer.again == [1, 2, 3]


async def test_the_error_of_the_last_attempt_is_raised() -> None:
    peer = Peer(*(BrokerRefused(str(n)) for n in range(1, 9)), policy=RetryPolicy(initial=0.001, attempts=3))
    with pytest.raises(BrokerRefused, match="3"):
        await peer.open()
    assert (len(peer.attempts), peer.again) == (3, [1, 2])


async def test_a_failure_that_is_not_listed_is_raised_at_once() -> None:
    peer = Peer(BrokerRefused("no"), BrokerDenied("no"), policy=RetryPolicy(initial=0.001, on=frozenset({"refused"})))
    with pytest.raises(BrokerDenied):
        await peer.open()
    assert [attempt.failure for attempt in peer.attempts] == ["refused", "denied"]


@pytest.mark.parametrize(("policy", "most"), [(RetryPolicy(enabled=False), 0), (RetryPolicy(attempts=5), 1), (QUICK, 1)])
async def test_without_retries_there_is_one_attempt(policy: RetryPolicy, most: int) -> None:
    peer = Peer(BrokerRefused("no"), policy=policy)
    with pytest.raises(BrokerRefused):
        await peer.open(most)
    assert len(peer.attempts) == 1


async def test_a_peer_that_was_never_reached_may_have_fewer_attempts_than_one_that_was_lost() -> None:
    peer = Peer(BrokerRefused("first"), policy=RetryPolicy(initial=0.001, first_attempts=1))
    with pytest.raises(BrokerRefused, match="first"):
        await peer.open()
    assert await peer.open() == "open"
    peer.failures = [BrokerRefused("no"), BrokerTimeout("no")]
    assert await peer.open() == "open"


async def test_an_error_that_is_no_transport_error_is_not_retried() -> None:
    async def broken() -> None:
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError):
        await Dialer(QUICK).dial("server", "s", broken)


def test_pauses_double_from_a_tenth_of_a_second_to_ten_seconds_less_a_tenth_at_random() -> None:
    policy = RetryPolicy()
    state = tenacity.RetryCallState(tenacity.AsyncRetrying(), None, (), {})
    wait, seen = pauses(policy), set()
    for number, longest in enumerate([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10], 1):
        state.attempt_number = number
        drawn = {wait(state) for _ in range(50)}
        assert all(0.9 * longest - 1e-9 <= pause <= longest for pause in drawn)
        seen |= drawn
    assert len(seen) > 100
    state.attempt_number = 10**6
    assert wait(state) <= policy.longest


def test_every_transport_error_has_a_failure_kind() -> None:
    kinds_of_failure = {
        failure(kind("x")) for kind in [*kinds(BrokerError), LinkRefused, LinkCertificateError, LinkHandshakeError]
    }
    assert kinds_of_failure == set(get_args(Failure))
    assert failure(BrokerClosed("x")) == "other"
    assert [failure(kind("x")) for kind in (LinkCertificateError, LinkHandshakeError)] == ["certificate", "protocol"]


def kinds(base: type[TransportError]) -> list[type[TransportError]]:
    return [base, *(kind for below in base.__subclasses__() for kind in kinds(below))]

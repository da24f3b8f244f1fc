"""The policy by which failed connections are tried again: how often, and after which pauses. runtime/retry.py follows it."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

Failure = Literal["refused", "reset", "timeout", "protocol", "certificate", "denied", "other"]
"""The kinds of failure of an attempt to connect. docs/spec/errors.md has the errors behind each."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The policy for all connections of a process. Times are seconds."""

    enabled: bool = True
    """False: one attempt."""
    initial: float = 0.1
    """The pause before the second attempt."""
    factor: float = 2.0
    """The factor by which each pause is longer than the one before."""
    longest: float = 10.0
    """The longest pause."""
    jitter: float = 0.1
    """The share of each pause that chance may take off, from 0 to 1."""
    attempts: int = 0
    """Attempts at most; 0 for no bound."""
    on: frozenset[Failure] = frozenset(get_args(Failure))
    """The failures after which another attempt is made."""
    first_attempts: int = 0
    """Attempts at most to reach a peer for the first time, whatever `attempts` says; 0 for no such bound."""

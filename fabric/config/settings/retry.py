"""How often, and after which pauses, a connection that failed is tried again. fabric/runtime/retry.py does it."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

Failure = Literal["refused", "reset", "timeout", "protocol", "certificate", "denied", "other"]
"""The kinds of failure of an attempt to connect. docs/spec/errors.md has the errors behind each."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """One policy for all that a process connects to. Times are seconds."""

    enabled: bool = True
    """False: one attempt."""
    initial: float = 0.1
    """The pause before the second attempt."""
    factor: float = 2.0
    """How much longer each pause is than the one before."""
    longest: float = 10.0
    """The longest pause."""
    jitter: float = 0.1
    """The share of each pause that chance may take off."""
    attempts: int = 0
    """Attempts at most; 0 for no end."""
    on: frozenset[Failure] = frozenset(get_args(Failure))
    """The failures after which another attempt is made."""
    first_attempts: int = 0
    """Attempts at most to reach a peer for the first time, whatever `attempts` says; 0 for no such bound."""

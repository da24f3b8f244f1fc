"""The authentication methods there are, and which of them the environment asks for.

A new one is one module as base.Method says, and its name in METHODS.
"""

from __future__ import annotations

from collections.abc import Mapping

from fabric.security.auth import basic
from fabric.security.auth.base import Authenticator, Method

METHODS: tuple[Method, ...] = (basic,)
"""In the order in which they are asked whether they are configured."""

VARIABLES = frozenset(name for method in METHODS for name in method.VARIABLES)
"""The environment variables of all of them."""

REMEDY = " or ".join(method.REMEDY for method in METHODS)
"""What an operator can do to have clients authenticated, as part of a sentence."""


def configured(environment: Mapping[str, str]) -> Authenticator | None:
    """What the variables ask for; None if clients are not asked who they are. Raises ConfigError."""
    return next((found for method in METHODS if (found := method.configured(environment)) is not None), None)

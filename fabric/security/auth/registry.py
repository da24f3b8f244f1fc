"""The registry of authentication methods: chooses the one that the environment configures.

A new method is one module as base.Method says, and its name in METHODS.
"""

from __future__ import annotations

from collections.abc import Mapping

from fabric.security.auth import basic
from fabric.security.auth.base import Authenticator, Method

METHODS: tuple[Method, ...] = (basic,)
"""In the order in which they are tried: the first one that is configured is used."""

VARIABLES = frozenset(name for method in METHODS for name in method.VARIABLES)
"""The environment variables of all methods."""

REMEDY = " or ".join(method.REMEDY for method in METHODS)
"""How to configure authentication, as part of a sentence."""


def configured(environment: Mapping[str, str]) -> Authenticator | None:
    """The authenticator that these variables configure; None without one. Raises ConfigError."""
    authenticators = (method.configured(environment) for method in METHODS)
    return next((authenticator for authenticator in authenticators if authenticator is not None), None)

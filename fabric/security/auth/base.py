"""The contract of an authentication method.

Above it: fabric/links/http/access.py, which calls an Authenticator, and registry.py, which chooses one. Below it: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec


class AuthRequest(Protocol):
    """The part of an HTTP request that authentication reads."""

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """Header values by lower-case name, repeated ones joined by commas."""
        ...


class Principal(msgspec.Struct, frozen=True):
    """An authenticated caller."""

    name: str
    """The owner of sessions, shown in logs and traces. Not a secret."""
    lasting: bool = True
    """Whether the same head, when it comes again on the same connection, need not be authenticated again: true for a password,
    false for a token that expires."""


ANONYMOUS = Principal("")
"""The caller of a request where clients are not authenticated."""


class Challenge(msgspec.Struct, frozen=True):
    """The refusal of a request without valid credentials, answered with 401."""

    reason: str
    """The reason, for people, without any part of the credentials that were sent."""
    www_authenticate: str
    """The value of the WWW-Authenticate header (RFC 9110 11.6.1)."""


class Authenticator(Protocol):
    """Authenticates requests; made once for each process. It must not block: the event loop waits for it."""

    def authenticate(self, request: AuthRequest) -> Principal | Challenge:
        """The caller, or the refusal. Does not raise, whatever the request holds."""
        ...


class Method(Protocol):
    """The contract of an authentication method's module."""

    @property
    def REMEDY(self) -> str:  # noqa: N802 (a constant of a module)
        """How to configure the method, as part of a sentence."""
        ...

    @property
    def VARIABLES(self) -> tuple[str, ...]:  # noqa: N802 (as above)
        """The environment variables that configure the method; servers do not inherit them."""
        ...

    def configured(self, environment: Mapping[str, str]) -> Authenticator | None:
        """The authenticator that these variables configure, None without them. Raises ConfigError for an incomplete setting."""
        ...

"""The contract of an authentication method.

Above it: fabric/links/http/access.py, which asks an Authenticator, and registry.py, which chooses one. Below it: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec


class AuthRequest(Protocol):
    """A request as authentication sees it."""

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """Header values by lower-case name, repeated ones joined by commas."""
        ...


class Principal(msgspec.Struct, frozen=True):
    """A caller who is known."""

    name: str
    """What sessions belong to, and what logs and traces show: no secret."""
    lasting: bool = True
    """Whether the same head, when it comes again on the same connection, need not be authenticated again: so it is with a
    password, but not with a token that expires."""


NOBODY = Principal("")
"""The caller where clients are not asked who they are."""


class Challenge(msgspec.Struct, frozen=True):
    """A request that proves nothing is answered with 401."""

    reason: str
    """Why, for people, without any of what was sent."""
    www_authenticate: str
    """The value of that header (RFC 9110 11.6.1)."""


class Authenticator(Protocol):
    """Judges requests; made once for each process. It neither waits nor blocks: it is asked in the middle of the event loop."""

    def authenticate(self, request: AuthRequest) -> Principal | Challenge:
        """The caller, or what to answer. Does not raise, whatever the request holds."""
        ...


class Method(Protocol):
    """A module of this package other than this one and registry.py."""

    @property
    def REMEDY(self) -> str:  # noqa: N802 (a constant of a module)
        """How to configure it, as part of a sentence."""
        ...

    @property
    def VARIABLES(self) -> tuple[str, ...]:  # noqa: N802 (as above)
        """The environment variables that configure it; no server is given them."""
        ...

    def configured(self, environment: Mapping[str, str]) -> Authenticator | None:
        """The authenticator that these variables ask for; None if they do not. Raises ConfigError for half of a setting."""
        ...

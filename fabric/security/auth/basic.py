"""HTTP Basic (RFC 7617): one user and one password for all clients."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

from fabric.errors import ConfigError
from fabric.security.auth.base import AuthRequest, Challenge, Principal

VARIABLES = ("AUTH_USER", "AUTH_PASSWORD")
REMEDY = "set AUTH_USER and AUTH_PASSWORD"

_SCHEME = 'Basic realm="mcp", charset="UTF-8"'
_MISSING = Challenge("no credentials: give this listener its user and password by HTTP Basic", _SCHEME)
_WRONG = Challenge("wrong credentials: give this listener its user and password by HTTP Basic", _SCHEME)


def configured(environment: Mapping[str, str]) -> Basic | None:
    """See base.Method.configured."""
    user, password = environment.get("AUTH_USER", ""), environment.get("AUTH_PASSWORD", "")
    if bool(user) != bool(password):
        raise ConfigError("AUTH_USER and AUTH_PASSWORD go together; set the one that is missing")
    return Basic(user, password) if user else None


class Basic:
    """An Authenticator (base.py) with one user and one password."""

    def __init__(self, user: str, password: str) -> None:
        self._user = Principal(user)
        self._credentials = f"{user}:{password}".encode()

    def __repr__(self) -> str:
        return f"Basic({self._user.name!r})"  # no password

    def authenticate(self, request: AuthRequest) -> Principal | Challenge:
        """See base.Authenticator.authenticate."""
        header = request.headers.get(b"authorization")
        if header is None:
            return _MISSING
        scheme, _, encoded = header.decode("latin-1").partition(" ")
        if scheme.lower() != "basic":
            return _WRONG
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return _WRONG
        return self._user if hmac.compare_digest(given, self._credentials) else _WRONG

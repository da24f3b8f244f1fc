"""Access to a network listener: checks Host and Origin against DNS rebinding, and refuses a listener open by accident."""

from __future__ import annotations

import ipaddress
import re

import msgspec

from fabric.errors import ConfigError
from fabric.security.auth.registry import REMEDY

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s\[\]:/@,]+)(?::[0-9]{1,5})?")
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[^\s\[\]:/@,]+)(?::[0-9]{1,5})?")


class AccessRules(msgspec.Struct, frozen=True, kw_only=True):
    """Which Host and Origin headers a listener accepts."""

    allowed_hosts: tuple[str, ...] = ()
    """Names that a Host header may have, with any port, besides the host that is listened on."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of web pages that may call, such as `https://app.example`."""
    allow_loopback: bool = True
    """Whether localhost, 127.0.0.1 and [::1] are allowed in both."""


class AccessCheck:
    """AccessRules prepared for the check of every request."""

    def __init__(self, rules: AccessRules, bound_host: str) -> None:
        loopback = _LOOPBACK_NAMES if rules.allow_loopback else frozenset()
        bound = f"[{bound_host}]" if ":" in bound_host else bound_host
        self._hosts = loopback | {name.lower() for name in (bound, *rules.allowed_hosts)}
        self._any_address = bound_host in ("0.0.0.0", "::")  # noqa: S104 (compared with, not bound to)
        self._loopback = loopback
        self._origins = frozenset(origin.lower().rstrip("/") for origin in rules.allowed_origins)

    def host_allowed(self, host: str) -> bool:
        """Whether a Host header names this listener.

        A listener on all addresses also accepts any address literal: DNS rebinding needs a name.
        """
        match = _HOST.fullmatch(host.lower())
        return match is not None and (match[1] in self._hosts or (self._any_address and _is_address(match[1])))

    def origin_allowed(self, origin: str) -> bool:
        """Whether a web page of this Origin may call this listener."""
        match = _ORIGIN.fullmatch(origin.lower())
        return match is not None and (match[1] in self._loopback or match[0] in self._origins)


def refuse_open_listener(host: str, *, authenticated: bool, allow_unauthenticated: bool) -> None:
    """Raise ConfigError for a listener that other machines can reach without authentication, unless that is allowed."""
    if authenticated or allow_unauthenticated or is_loopback(host):
        return
    raise ConfigError(
        f"{host or 'every address'} can be reached from other machines and no authentication is configured: "
        f"{REMEDY}, listen on 127.0.0.1, or give --allow-unauthenticated"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on `host`. A name other than localhost counts as reachable."""
    name = host.strip("[]").lower()
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True

"""Who may come in by a network door: Host and Origin against DNS rebinding, Basic credentials, no door open by accident."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re

import msgspec

from fabric.errors import ConfigError

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s\[\]:/@,]+)(?::[0-9]{1,5})?")
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[^\s\[\]:/@,]+)(?::[0-9]{1,5})?")


class AccessRules(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one door.

    allowed_hosts: names a Host header may bear (any port) besides the one listened on. allowed_origins: origins of web pages
    that may call, such as `https://app.example`. allow_loopback: localhost, 127.0.0.1 and [::1] are allowed in both. user,
    password: Basic credentials to ask for; nobody is asked while `user` is empty.
    """

    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    allow_loopback: bool = True
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        secret = "set" if self.password else "unset"
        return f"AccessRules(hosts={self.allowed_hosts}, origins={self.allowed_origins}, user={self.user!r}, password={secret})"


class AccessCheck:
    """AccessRules made ready for asking on every request."""

    def __init__(self, rules: AccessRules, bound_host: str) -> None:
        loopback = _LOOPBACK_NAMES if rules.allow_loopback else frozenset()
        bound = f"[{bound_host}]" if ":" in bound_host else bound_host
        self._hosts = loopback | {name.lower() for name in (bound, *rules.allowed_hosts)}
        self._any_address = bound_host in ("0.0.0.0", "::")  # noqa: S104 (compared with, not bound to)
        self._loopback = loopback
        self._origins = frozenset(origin.lower().rstrip("/") for origin in rules.allowed_origins)
        self._credentials = f"{rules.user}:{rules.password}".encode()
        self._user = rules.user
        self.asks = bool(rules.user)

    def host_allowed(self, host: str) -> bool:
        """Whether a Host header names us.

        A listener on every address also answers to any of the machine's: an address literal is never the name that an
        attacker's DNS was made to resolve here.
        """
        match = _HOST.fullmatch(host.lower())
        return match is not None and (match[1] in self._hosts or (self._any_address and _is_address(match[1])))

    def origin_allowed(self, origin: str) -> bool:
        """Whether a web page of this Origin may call us."""
        match = _ORIGIN.fullmatch(origin.lower())
        return match is not None and (match[1] in self._loopback or match[0] in self._origins)

    def principal(self, authorization: str) -> str | None:
        """Who an Authorization header proves to be calling: the user, "" where nobody is asked, None if it proves nothing."""
        if not self.asks:
            return ""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return None
        return self._user if hmac.compare_digest(given, self._credentials) else None


def refuse_open_listener(host: str, *, authenticated: bool, allow_unauthenticated: bool) -> None:
    """Raise ConfigError for a listener that strangers could reach and that asks nobody who they are."""
    if authenticated or allow_unauthenticated or is_loopback(host):
        return
    raise ConfigError(
        f"{host or 'every address'} can be reached from other machines and no authentication is configured: "
        "set AUTH_USER and AUTH_PASSWORD, listen on 127.0.0.1, or say --allow-unauthenticated"
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

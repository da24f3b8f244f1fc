"""Where one process listens: no two of its doors at one address, which is refused before any of them opens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from itertools import combinations
from pathlib import Path

import msgspec

from fabric.errors import ConfigError
from fabric.runtime.settings import Address


class Place(msgspec.Struct, frozen=True):
    """A door. key: of the `fabric` section that asks for it. said: what was said there. at: a port, or a Unix socket's file."""

    key: str
    said: str
    at: Address | Path


def refuse_shared(places: Sequence[Place], where: Callable[[str], str]) -> None:
    """Raise ConfigError for two of them at one address. where: who said a key."""
    for one, other in combinations(places, 2):
        if (one.key, one.said) == (other.key, other.said) and _overlap(one.at, other.at):
            raise ConfigError(f"{one.said} is there twice; leave one out", where=where(one.key))
        if _overlap(one.at, other.at):
            remedy = "a path of its own" if isinstance(one.at, Path) else "a port of its own; 0 picks a free one"
            raise ConfigError(
                f"{one.key} {one.said} and {other.key} {other.said} are at one address; give each {remedy}",
                where=where(other.key),
            )


def _overlap(one: Address | Path, other: Address | Path) -> bool:
    """Whether only one of the two can listen. A host's name is not looked up, but for localhost."""
    if isinstance(one, Path) or isinstance(other, Path):
        return isinstance(one, Path) and isinstance(other, Path) and _real(one) == _real(other)
    if one.port != other.port or not one.port:
        return False
    hosts = {_literal(one.host), _literal(other.host)}
    return len(hosts) == 1 or "::" in hosts or ("0.0.0.0" in hosts and "::1" not in hosts)  # noqa: S104 (nothing is bound)


def _real(path: Path) -> Path:
    return path.parent.resolve() / path.name


def _literal(host: str) -> str:
    if host.lower() == "localhost":
        return "127.0.0.1"  # as links/sockets/binding.py has it
    try:
        return str(ip_address(host))
    except ValueError:
        return host.lower()

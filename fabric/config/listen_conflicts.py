"""Refuses two listeners of one process at one address, before any of them opens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from itertools import combinations
from pathlib import Path

import msgspec

from fabric.config.settings.process import Address
from fabric.errors import ConfigError


class ListenPoint(msgspec.Struct, frozen=True):
    """The address of one listener."""

    key: str
    """The key of the `fabric` section that asks for it."""
    entry: str
    """The text that was written there."""
    at: Address | Path
    """A port, or the file of a Unix socket."""


def refuse_conflicts(points: Sequence[ListenPoint], origin: Callable[[str], str]) -> None:
    """Raise ConfigError if two of them have one address. origin: gives the origin of a key, for people."""
    for one, other in combinations(points, 2):
        if (one.key, one.entry) == (other.key, other.entry) and _overlap(one.at, other.at):
            raise ConfigError(f"{one.entry} is there twice; leave one out", where=origin(one.key))
        if _overlap(one.at, other.at):
            remedy = "a path of its own" if isinstance(one.at, Path) else "a port of its own; 0 picks a free one"
            raise ConfigError(
                f"{one.key} {one.entry} and {other.key} {other.entry} are at one address; give each {remedy}",
                where=origin(other.key),
            )


def _overlap(one: Address | Path, other: Address | Path) -> bool:
    """Whether only one of the two can listen. No host name is resolved, except that localhost is 127.0.0.1."""
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

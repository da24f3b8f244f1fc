"""Where clients come in beside HTTP: the doors that `tcp`, `unix` and `ws` ask for, each `ADDRESS=SERVER`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from fabric.errors import ConfigError
from fabric.runtime.places import Place, refuse_shared
from fabric.runtime.schema import FabricSection
from fabric.runtime.settings import Address, Door, Settings
from fabric.runtime.values import split_address, split_door
from fabric.security.access import refuse_open_listener


def doors_of(
    section: FabricSection, settings: Settings, folder: Path, where: Callable[[str], str], *, all: bool
) -> tuple[Door, ...]:
    """The doors of a process that opens them.

    folder: to which a socket's path is relative. where: who said a key. all: the servers of the settings are all there are.
    Raises ConfigError for one that asks nobody who they are and can be reached from elsewhere, that leads to no server, or that
    is where another is, HTTP's and that of the health endpoints included.
    """
    found = []
    places = [Place("http", str(settings.http), settings.http)]
    if settings.admin is not None:
        places.append(Place("admin", str(settings.admin), settings.admin))
    asked: Mapping[str, tuple[str, ...]] = {"tcp": section.tcp, "unix": section.unix, "ws": section.ws}
    for scheme, entries in asked.items():
        for entry in entries:
            place, server = split_door(entry)
            at = folder / place if scheme == "unix" else Address(*split_address(place))
            try:
                door = Door(
                    scheme=scheme,
                    server=_server(server, scheme, entry, settings, all=all),
                    address=at if isinstance(at, Address) else None,
                    path=at if isinstance(at, Path) else None,
                )
                _refuse_exposed(door, settings)
            except ConfigError as error:
                raise ConfigError(error.reason, where=where(scheme)) from None
            found.append(door)
            places.append(Place(scheme, entry, at))
    refuse_shared(places, where)
    return tuple(found)


def _server(name: str, scheme: str, entry: str, settings: Settings, *, all: bool) -> str:
    if name and all and name not in settings.servers:
        raise ConfigError(f"no enabled server is called {name}; there are {', '.join(settings.servers)}")
    if not name and scheme != "ws" and not settings.default_server:
        which = f"one of {', '.join(settings.servers)}" if settings.servers else "a server of a bridge's"
        raise ConfigError(f"{entry} names no server, and there is no default server: say {entry}=SERVER, with {which}")
    return name or ("" if scheme == "ws" else settings.default_server or "")


def _refuse_exposed(door: Door, settings: Settings) -> None:
    """A WebSocket's client can be asked for a password; over TCP nobody is asked anything; a Unix socket's file has a mode."""
    if door.address is not None:
        asks = door.scheme == "ws" and bool(settings.auth_user)
        allowed = settings.allow_unauthenticated
        try:
            refuse_open_listener(door.address.host, authenticated=asks, allow_unauthenticated=allowed)
        except ConfigError as error:
            if door.scheme == "ws":
                raise
            raise ConfigError(
                f"{door.address.host} can be reached from other machines, and over TCP nobody is asked who they are: "
                "listen on 127.0.0.1, or say --allow-unauthenticated"
            ) from error

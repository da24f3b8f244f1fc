"""Finds where a process listens: for HTTP, and for the entries of `tcp`, `unix` and `ws`, each `ADDRESS=SERVER`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from fabric.config.listen_conflicts import ListenPoint, refuse_conflicts
from fabric.config.merge import Origins
from fabric.config.schema.fabric import FabricSection
from fabric.config.schema.file import ConfigFile
from fabric.config.schema.values import split_address, split_listener
from fabric.config.settings.process import DEFAULTS, AccessSettings, Address, ListenerSettings, ListenSettings, Settings
from fabric.errors import ConfigError
from fabric.links.registry import LISTENERS
from fabric.security.access import is_loopback, refuse_open_listener


def http_listener(file: ConfigFile, environment: Mapping[str, str], origins: Origins) -> tuple[Address, str]:
    """The address of HTTP and its origin: `http`, else mcp-server-runner's host and port, in the file or as HOST and PORT."""
    if file.fabric.http:
        return Address(*split_address(file.fabric.http)), origins.of("http")
    default = DEFAULTS.listen.http
    port: int | str = file.port if file.port is not None else environment.get("PORT", default.port)
    if isinstance(port, str) and not (port.isdecimal() and int(port) <= 65535):
        raise ConfigError(f"{port!r} is not a port", where="PORT")
    host = file.host or environment.get("HOST", default.host)
    return Address(host.strip("[]"), int(port)), f"{origins.source}: host" if file.host else "HOST"


def refuse_exposed(
    listen: ListenSettings, access: AccessSettings, listens: Collection[str], origins: Mapping[str, str]
) -> None:
    """Raise ConfigError if `http` or `admin` can be reached from other machines and does not authenticate its clients.

    listens: which of them the process opens. origins: the origin of each, for people.
    """
    allowed = access.allow_unauthenticated
    if "http" in listens:
        try:
            authenticated = access.authenticator is not None
            refuse_open_listener(listen.http.host, authenticated=authenticated, allow_unauthenticated=allowed)
        except ConfigError as error:
            raise ConfigError(error.reason, where=origins["http"]) from None
    if "admin" in listens and listen.admin and not (allowed or is_loopback(listen.admin.host)):
        raise ConfigError(
            f"{listen.admin.host} can be reached from other machines, and the health endpoints authenticate nobody: "
            "listen on 127.0.0.1, or give --allow-unauthenticated",
            where=origins["admin"],
        )


def other_listeners(section: FabricSection, settings: Settings, origins: Origins, *, all: bool) -> tuple[ListenerSettings, ...]:
    """The listeners besides HTTP of a process that opens them.

    all: whether the servers of the settings are all there are. Raises ConfigError for a listener that can be reached from other
    machines and does not authenticate its clients, that leads to no server, or that has the address of another listener, of
    HTTP or of the health endpoints.
    """
    listeners = []
    points = [ListenPoint("http", str(settings.listen.http), settings.listen.http)]
    if settings.listen.admin is not None:
        points.append(ListenPoint("admin", str(settings.listen.admin), settings.listen.admin))
    for scheme, kind in LISTENERS.items():
        entries: tuple[str, ...] = getattr(section, scheme)
        for entry in entries:
            place, server = split_listener(entry)
            at = origins.path(scheme, place) if kind.place == "PATH" else Address(*split_address(place))
            try:
                listener = ListenerSettings(
                    scheme=scheme,
                    server=_server(server, scheme, entry, settings, all=all),
                    address=at if isinstance(at, Address) else None,
                    path=at if isinstance(at, Path) else None,
                )
                _refuse_exposed(listener, settings.access)
            except ConfigError as error:
                raise ConfigError(error.reason, where=origins.of(scheme)) from None
            listeners.append(listener)
            points.append(ListenPoint(scheme, entry, at))
    refuse_conflicts(points, origins.of)
    return tuple(listeners)


def _server(name: str, scheme: str, entry: str, settings: Settings, *, all: bool) -> str:
    if name and all and name not in settings.servers:
        raise ConfigError(f"no enabled server is called {name}; there are {', '.join(settings.servers)}")
    named = LISTENERS[scheme].http
    if not name and not named and not settings.default_server:
        which = f"one of {', '.join(settings.servers)}" if settings.servers else "a server of a bridge"
        raise ConfigError(f"{entry} names no server, and there is no default server: give {entry}=SERVER, with {which}")
    return name or ("" if named else settings.default_server or "")


def _refuse_exposed(listener: ListenerSettings, access: AccessSettings) -> None:
    """Raise ConfigError if other machines can reach a listener that authenticates nobody; one without HTTP never does."""
    if listener.address is not None:
        http = LISTENERS[listener.scheme].http
        authenticated = http and access.authenticator is not None
        allowed = access.allow_unauthenticated
        try:
            refuse_open_listener(listener.address.host, authenticated=authenticated, allow_unauthenticated=allowed)
        except ConfigError as error:
            if http:
                raise
            raise ConfigError(
                f"{listener.address.host} can be reached from other machines, and {listener.scheme.upper()} "
                "authenticates nobody: listen on 127.0.0.1, or give --allow-unauthenticated"
            ) from error

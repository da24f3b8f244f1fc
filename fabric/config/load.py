"""Loads the settings of a process: reads (files/source.py), merges (merge.py), checks (schema/), completes and freezes them.

For each key the command line wins over the environment, the environment over the file, the file over the default. Only workers/
reads the real environment; here it is an argument. Every refusal is a ConfigError that names the source, the key and the
reason, and never quotes a value that may hold a credential.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from fabric.config.files.hosts import SERVERS_AT
from fabric.config.files.source import read
from fabric.config.listeners import http_listener, other_listeners, refuse_exposed
from fabric.config.merge import Origins, override
from fabric.config.schema.fabric import FabricSection
from fabric.config.schema.file import ConfigFile
from fabric.config.schema.values import split_address
from fabric.config.servers import definitions
from fabric.config.settings.process import (
    AccessSettings,
    Address,
    FabricSettings,
    LinkSettings,
    ListenSettings,
    LogSettings,
    SecretSettings,
    Settings,
    TimeSettings,
)
from fabric.config.settings.server import ENVIRONMENT, ConfigSource
from fabric.config.state_folder import state_path
from fabric.config.validation_errors import validated
from fabric.errors import ConfigError
from fabric.security.auth import registry as authentication
from fabric.security.auth.base import Authenticator

T = TypeVar("T", bound=msgspec.Struct)


def load(
    path: str | None,
    *,
    environment: Mapping[str, str],
    arguments: Mapping[str, object],
    needs_servers: bool = False,
    listens: Collection[str] = (),
) -> Settings:
    """The settings of a process.

    path: the file or the URI of one server that the command line names; else it is CONFIG_FILE, else PROGRAM and ARGS are one
    server. arguments: the keys of FabricSection, in camelCase, that the command line gave; None is not given. needs_servers:
    whether to refuse settings without a server. listens: which of `http`, `admin` and `others` this process opens, to refuse
    one that is open to the network without authentication. Raises ConfigError.
    """
    environment = {name: value for name, value in environment.items() if value}  # compose writes unset as `FABRIC_BROKER=`
    written = read(path or environment.get("CONFIG_FILE"), environment)
    origins = override(written, environment, arguments)
    file = validated(written.content, written.source, origins)
    section = file.fabric
    http, http_origin = http_listener(file, environment, origins)
    settings = Settings(
        source=written.source,
        fabric=_record(FabricSettings, section, retry=section.retry.policy(), state=_state(section, environment, origins)),
        secret=_secret(section, environment, origins),
        listen=_record(
            ListenSettings,
            section,
            http=http,
            others=(),
            admin=Address(*split_address(section.admin)) if section.admin else None,
            unix_mode=int(section.unix_mode, 8),
        ),
        access=_record(AccessSettings, section, authenticator=_authenticator(environment)),
        links=_record(LinkSettings, section),
        times=_record(TimeSettings, section),
        log=_record(LogSettings, section),
        servers=definitions(file, written, environment),
    )
    refuse_exposed(settings.listen, settings.access, listens, {"http": http_origin, "admin": origins.of("admin")})
    default = _default_server(file, list(settings.servers), written.source, needs_servers=needs_servers)
    settings = msgspec.structs.replace(settings, default_server=default)
    if "others" not in listens:
        return settings
    others = other_listeners(section, settings, origins, all=needs_servers)
    return msgspec.structs.replace(settings, listen=msgspec.structs.replace(settings.listen, others=others))


def _record(record: type[T], section: FabricSection, **others: object) -> T:
    """A record of settings, with the values of the section's fields; `others` are the fields whose form differs."""
    alike = {name: getattr(section, name) for name in record.__struct_fields__ if name not in others}
    return record(**alike, **others)


def _authenticator(environment: Mapping[str, str]) -> Authenticator | None:
    try:
        return authentication.configured(environment)
    except ConfigError as error:
        raise ConfigError(error.reason, where=ENVIRONMENT) from None


def _state(section: FabricSection, environment: Mapping[str, str], origins: Origins) -> Path:
    return origins.path("state", section.state) if section.state else state_path(environment)


def _secret(section: FabricSection, environment: Mapping[str, str], origins: Origins) -> SecretSettings:
    return SecretSettings(
        secret=environment.get("FABRIC_SECRET"),
        secret_file=origins.path("secretFile", section.secret_file) if section.secret_file else None,
        secret_command=tuple(shlex.split(section.secret_command)) if section.secret_command else None,
    )


def _default_server(file: ConfigFile, names: list[str], source: ConfigSource, *, needs_servers: bool) -> str | None:
    """The server that /mcp means. names: the enabled servers. Raises ConfigError if servers are needed and none is enabled."""
    if not names and needs_servers:
        if source.name == ENVIRONMENT:
            raise ConfigError("nothing to serve: name a config file, or set CONFIG_FILE, or PROGRAM and ARGS")
        none = f"names no server; they are read from {', '.join(SERVERS_AT)}"
        reason = "all servers are disabled" if file.mcp_servers else none
        raise ConfigError(reason, where=f"{source.name}: {source.servers_at}")
    if not file.default_server:
        return names[0] if len(names) == 1 else None
    if file.default_server in names or not (names or needs_servers):
        return file.default_server
    raise ConfigError(f"no enabled server is called that; there are {', '.join(names)}", where=f"{source.name}: defaultServer")

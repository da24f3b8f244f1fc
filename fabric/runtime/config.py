"""Turns what was written into settings: merged (sources.py), checked (schema.py, refusal.py), completed and frozen.

For each key the command line wins over the environment, that over the file, that over the default. The environment is an
argument here; only workers/ reads the real one. Every refusal is a ConfigError that names the source, the key and the reason,
and never quotes a value that may hold a credential.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from fabric.core.health import Checks
from fabric.errors import ConfigError
from fabric.links.stdio import environment as child_environment
from fabric.links.url import parse as parse_link_url
from fabric.runtime.doors import doors_of
from fabric.runtime.env_file import read_env_file
from fabric.runtime.hosts import SERVERS_AT
from fabric.runtime.refusal import validated
from fabric.runtime.schema import ConfigFile, ServerSection, TrustSection, address
from fabric.runtime.settings import DEFAULTS, ENVIRONMENT, Address, ServerDefinition, Settings
from fabric.runtime.sources import Written, override, read
from fabric.runtime.state import state_path
from fabric.runtime.values import split_address
from fabric.runtime.variables import is_ours
from fabric.security.access import is_loopback, refuse_open_listener
from fabric.security.tls import Trust

_PASSWORD = re.compile(r"//[^/@]*@")


def load(
    path: str | None,
    *,
    environment: Mapping[str, str],
    arguments: Mapping[str, object],
    needs_servers: bool = False,
    listens: Collection[str] = (),
) -> Settings:
    """The settings of a process.

    path: the file named on the command line, or the URI of one server; else CONFIG_FILE is it, else PROGRAM and ARGS are one
    server. arguments: keys of FabricSection, in camelCase, that the command line gave; None is not given. needs_servers:
    without a server there is nothing to do. listens: which of `http`, `admin` and `doors` this process opens, to refuse one
    that is open to the network without authentication. Raises ConfigError.
    """
    environment = {name: value for name, value in environment.items() if value}  # compose says unset as `FABRIC_BROKER=`
    written = read(path or environment.get("CONFIG_FILE"), environment)
    source, folder = written.source, written.folder or Path.cwd()
    origins = override(written.content, source, environment, arguments)
    file = validated(written.content, source, written.servers_at, origins)
    section = file.fabric
    http, http_origin = _http(file, source, environment, origins)
    base = {key: Path.cwd() if key in origins else folder for key in ("secretFile", "state", "unix")}
    inherited = {name: value for name, value in environment.items() if not is_ours(name)}
    if written.folder:  # without a file PROGRAM has no other way to be told anything: mcp-server-runner hands on all it has
        asked = {name: value for name, value in inherited.items() if name in section.inherit_env}
        inherited = child_environment(inherited, asked)
    settings = Settings(
        source=source,
        name=section.name,
        broker=section.broker,
        http=http,
        doors=(),
        unix_mode=int(section.unix_mode, 8),
        unix_remove=section.unix_remove,
        admin=Address(*split_address(section.admin)) if section.admin else None,
        allow_unauthenticated=section.allow_unauthenticated,
        allowed_hosts=section.allowed_hosts,
        allowed_origins=section.allowed_origins,
        trusted_proxies=section.trusted_proxies,
        path_prefix=section.path_prefix,
        public_url=section.public_url,
        keep_alive=section.keep_alive,
        half_closed_timeout=section.half_closed_timeout,
        ws_compression=section.ws_compression,
        max_frame_bytes=section.max_frame_bytes,
        stall_timeout=section.stall_timeout,
        log_level=section.log_level,
        log_format=section.log_format,
        retry=section.retry.policy(),
        lease=section.lease,
        broker_wait=section.broker_wait,
        idle_timeout=section.idle_timeout,
        absolute_timeout=section.absolute_timeout,
        drain_timeout=section.drain_timeout,
        session_lifetime=section.session_lifetime,
        secret=environment.get("FABRIC_SECRET"),
        secret_file=base["secretFile"] / section.secret_file if section.secret_file else None,
        secret_command=tuple(shlex.split(section.secret_command)) if section.secret_command else None,
        state=base["state"] / section.state if section.state else state_path(environment),
        auth_user=environment.get("AUTH_USER", ""),
        auth_password=environment.get("AUTH_PASSWORD", ""),
        servers={
            name: _definition(name, server, written, folder, inherited, section.idle_timeout)
            for name, server in file.mcp_servers.items()
            if not server.disabled
        },
        default_server=None,
        servers_at=written.servers_at,
        passed_over=written.passed_over,
    )
    _refuse_exposure(settings, listens, {"http": http_origin, "admin": origins.get("admin", f"{source}: fabric.admin")})
    settings = msgspec.structs.replace(settings, default_server=_default(file, settings, needs_servers=needs_servers))
    if "doors" not in listens:
        return settings

    def said(key: str) -> str:
        return origins.get(key, f"{source}: fabric.{key}")

    return msgspec.structs.replace(settings, doors=doors_of(section, settings, base["unix"], said, all=needs_servers))


def _http(file: ConfigFile, source: str, environment: Mapping[str, str], origins: Mapping[str, str]) -> tuple[Address, str]:
    """Where HTTP listens, and who said so: `http`, else mcp-server-runner's host and port, the file's before HOST and PORT."""
    if file.fabric.http:
        return Address(*split_address(file.fabric.http)), origins.get("http", f"{source}: fabric.http")
    port: int | str = file.port if file.port is not None else environment.get("PORT", DEFAULTS.http.port)
    if isinstance(port, str) and not (port.isdecimal() and int(port) <= 65535):
        raise ConfigError(f"{port!r} is not a port", where="PORT")
    host = file.host or environment.get("HOST", DEFAULTS.http.host)
    return Address(host.strip("[]"), int(port)), f"{source}: host" if file.host else "HOST"


def _definition(
    name: str, server: ServerSection, written: Written, folder: Path, inherited: Mapping[str, str], patience: float
) -> ServerDefinition:
    health = server.health
    command, url = server.command or "", address(server.url, server.type) if server.url else ""
    unready = written.unready.get(name, ())
    env: dict[str, str | None] = {**inherited}
    if server.env_file:
        try:
            env |= read_env_file(folder / server.env_file)
        except ConfigError as error:
            unready += (f"{written.source}: {written.servers_at}.{name}.envFile: {error.reason}",)
    env |= server.env
    return ServerDefinition(
        name=name,
        url=url,
        headers=tuple(server.headers.items()),
        trust=_trust(server.tls, folder),
        command=str(folder / command) if os.sep in command else command,
        args=server.args,
        env={key: value for key, value in env.items() if value is not None},
        cwd=str(folder / (server.cwd or "")),
        max_in_flight=server.max_in_flight,
        warm=server.warm,
        max_processes=server.max_processes,
        max_log_lines=server.max_log_lines,
        retry_calls=server.retry_calls,
        era=server.era or "",
        start_timeout=server.start_timeout,
        grace=server.grace,
        checks=Checks(
            enabled=health.enabled,
            interval=health.interval,
            timeout=health.timeout,
            down=health.down,
            up=health.up,
            command=health.command is not None,
            ping=not url,  # HTTP takes nothing before the handshake
            patience=patience,
        ),
        check_command=tuple(shlex.split(health.command or "")),
        digest=_digest(server, written.entries[name]),
        unready=unready,
        shown=_shown(url, written.entries[name].get("url") or ""),
    )


def _shown(url: str, written: str) -> str:
    """A URL in which variables were replaced, as people may read it: in its path they stand by name, as they were written."""
    if not url or "${" not in written:
        return ""
    path = written.partition("://")[2].partition("?")[0].partition("/")[2]
    return msgspec.structs.replace(parse_link_url(url), path=f"/{path}", parameters=()).where


def _digest(server: ServerSection, entry: Mapping[str, Any]) -> str:
    """What makes a definition equal on two machines. entry: as it was written.

    It is announced, and a short secret could be guessed from it: so variables are in it by name, and neither the values of env
    nor user, password and query of a url are. Nor is what may differ from machine to machine: the file's folder, and capacity.
    """
    args = [each if isinstance(each, str) else text for each, text in zip(entry.get("args") or (), server.args, strict=False)]
    defined = [entry.get("command") or "", args, sorted(server.env), entry.get("cwd"), server.retry_calls, server.sessions]
    if server.env_file:
        defined.append(server.env_file)
    if url := entry.get("url"):
        place = _PASSWORD.sub("//", url.partition("?")[0]) if "${" in url else parse_link_url(address(url, server.type)).where
        defined += [place, sorted(server.headers)]
    if server.era:
        defined.append(server.era)
    return hashlib.blake2b(json.dumps(defined).encode(), digest_size=16).hexdigest()


def _trust(section: TrustSection, folder: Path) -> Trust:
    files = {"ca": section.ca, "certificate": section.certificate, "key": section.key}
    return Trust(**{name: str(folder / file) for name, file in files.items() if file})


def _refuse_exposure(settings: Settings, listens: Collection[str], origins: Mapping[str, str]) -> None:
    if bool(settings.auth_user) != bool(settings.auth_password):
        raise ConfigError("AUTH_USER and AUTH_PASSWORD go together; one is missing", where=ENVIRONMENT)
    if "http" in listens:
        try:
            refuse_open_listener(
                settings.http.host,
                authenticated=bool(settings.auth_user),
                allow_unauthenticated=settings.allow_unauthenticated,
            )
        except ConfigError as error:
            raise ConfigError(error.reason, where=origins["http"]) from None
    if "admin" in listens and settings.admin and not (settings.allow_unauthenticated or is_loopback(settings.admin.host)):
        raise ConfigError(
            f"{settings.admin.host} can be reached from other machines, and these pages ask nobody who they are: "
            "listen on 127.0.0.1, or say --allow-unauthenticated",
            where=origins["admin"],
        )


def _default(file: ConfigFile, settings: Settings, *, needs_servers: bool) -> str | None:
    """The server that /mcp means; refuses a file without servers where some are needed."""
    names = list(settings.servers)
    if not names and needs_servers:
        if settings.source == ENVIRONMENT:
            raise ConfigError("nothing to serve: name a config file, or set CONFIG_FILE, or PROGRAM and ARGS")
        reason = "all are disabled" if file.mcp_servers else f"names no server; they are read from {', '.join(SERVERS_AT)}"
        raise ConfigError(reason, where=f"{settings.source}: {settings.servers_at}")
    if not file.default_server:
        return names[0] if len(names) == 1 else None
    if file.default_server in names or not (names or needs_servers):
        return file.default_server
    raise ConfigError(
        f"no enabled server is called that; there are {', '.join(names)}", where=f"{settings.source}: defaultServer"
    )

"""Where settings come from: the command line, the environment and the file, merged and checked.

For each key the command line wins over the environment, that over the file, that over the default. The environment is an
argument here; only workers/ reads the real one. Every refusal is a ConfigError that names the source, the key and the reason,
and never quotes a value that may hold a credential.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
from pydantic.alias_generators import to_camel

from fabric.core.health import Checks
from fabric.errors import ConfigError
from fabric.links.stdio import ServerCommand
from fabric.links.stdio import environment as child_environment
from fabric.links.url import LinkUrl
from fabric.links.url import parse as parse_link_url
from fabric.runtime.doors import doors_of
from fabric.runtime.refusal import validated
from fabric.runtime.schema import ConfigFile, FabricSection, ServerSection, TrustSection, address, leaves, split_address
from fabric.runtime.settings import Address, ServerDefinition, Settings
from fabric.runtime.state import state_path
from fabric.runtime.uri import has_scheme
from fabric.runtime.uri import parse as parse_uri
from fabric.security.access import is_loopback, refuse_open_listener
from fabric.security.tls import Trust

_VARIABLES = {f"FABRIC_{'_'.join(path).upper()}": ".".join(map(to_camel, path)) for path in leaves(FabricSection)}
_SECRET_VARIABLES = ("FABRIC_SECRET", "FABRIC_SECRET_FILE", "FABRIC_SECRET_COMMAND")
_ENVIRONMENT = "the environment"
_COMMAND_LINE = "the command line"
_OPTIONS = {"name": "--fabric", "allowUnauthenticated": "--allow-unauthenticated"}


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
    server. arguments: keys of
    FabricSection, in camelCase, that the command line gave; None is not given. needs_servers: without a server there is nothing
    to do. listens: which of `http`, `admin` and `doors` this process opens, to refuse one that is open to the network
    without authentication. Raises ConfigError.
    """
    environment = {name: value for name, value in environment.items() if value}  # compose says unset as `FABRIC_BROKER=`
    path = path or environment.get("CONFIG_FILE")
    source = path or _ENVIRONMENT
    if path and has_scheme(path) and not Path(path).exists():
        content, path, source = _of_uri(path), None, _COMMAND_LINE
    else:
        content = _parsed(Path(path)) if path else _of_program(environment)
    origins = _override(content, source, environment, arguments)
    file = validated(content, source, origins)
    section = file.fabric
    http, http_origin = _http(file, source, environment, origins)
    folder = Path(path).absolute().parent if path else Path.cwd()
    base = {key: Path.cwd() if key in origins else folder for key in ("secretFile", "state", "unix")}
    inherited = child_environment(environment, {})
    if not path:  # mcp-server-runner hands its whole environment on, and PROGRAM has no other way to be told anything
        inherited = {name: value for name, value in environment.items() if not name.startswith(("FABRIC_", "AUTH_"))}
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
        ws_compression=section.ws_compression,
        max_frame_bytes=section.max_frame_bytes,
        retry=section.retry.policy(),
        lease=section.lease,
        idle_timeout=section.idle_timeout,
        absolute_timeout=section.absolute_timeout,
        session_lifetime=section.session_lifetime,
        secret=environment.get("FABRIC_SECRET"),
        secret_file=base["secretFile"] / section.secret_file if section.secret_file else None,
        secret_command=tuple(shlex.split(section.secret_command)) if section.secret_command else None,
        state=base["state"] / section.state if section.state else state_path(environment),
        auth_user=environment.get("AUTH_USER", ""),
        auth_password=environment.get("AUTH_PASSWORD", ""),
        servers={
            name: _definition(name, server, folder, inherited, section.idle_timeout)
            for name, server in file.mcp_servers.items()
            if not server.disabled
        },
        default_server=None,
    )
    _refuse_exposure(settings, listens, {"http": http_origin, "admin": origins.get("admin", f"{source}: fabric.admin")})
    settings = msgspec.structs.replace(settings, default_server=_default(file, settings, needs_servers=needs_servers))
    if "doors" not in listens:
        return settings

    def said(key: str) -> str:
        return origins.get(key, f"{source}: fabric.{key}")

    return msgspec.structs.replace(settings, doors=doors_of(section, settings, base["unix"], said, all=needs_servers))


def _parsed(path: Path) -> Any:
    """The JSON a file holds."""
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error.msg}", where=f"{path}: line {error.lineno}, column {error.colno}") from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 at byte {error.start}", where=str(path)) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(error) or "nested too deeply", where=str(path)) from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key `{next(key for key in keys if keys.count(key) > 1)}` is there twice")
    return found


def _of_program(environment: Mapping[str, str]) -> dict[str, Any]:
    """mcp-server-runner's PROGRAM and ARGS as a file would say them."""
    if not (program := environment.get("PROGRAM")):
        return {}
    args = environment["ARGS"].split(",") if "ARGS" in environment else []
    return {"mcpServers": {"default": {"command": program, "args": args}}}


def _of_uri(uri: str) -> dict[str, Any]:
    """A server's URI as a file would say it."""
    try:
        meant = parse_uri(uri)
    except ConfigError as error:
        raise ConfigError(error.reason, where=_COMMAND_LINE) from None
    match meant:
        case ServerCommand(command, args):
            entry: dict[str, Any] = {"command": command, "args": list(args)}
        case LinkUrl():
            entry = {"url": uri}
        case _:
            raise ConfigError("this is a broker's URL, not a server's; say --broker", where=_COMMAND_LINE)
    return {"mcpServers": {"default": entry}}


def _override(content: Any, source: str, environment: Mapping[str, str], arguments: Mapping[str, object]) -> dict[str, str]:
    """Lay environment and command line over the file's `fabric` keys; returns who said each key that is not the file's."""
    known = [*_VARIABLES, "FABRIC_SECRET"]
    for name in environment.keys() - known:
        # only near misses: other software has FABRIC_ variables too
        if name.startswith("FABRIC_") and (guess := difflib.get_close_matches(name, known, 1, 0.9)):
            raise ConfigError(f"unknown variable; did you mean {guess[0]}?", where=name)
    if len(secrets := [name for name in _SECRET_VARIABLES if name in environment]) > 1:
        raise ConfigError(f"{' and '.join(secrets)} are set; set one", where=_ENVIRONMENT)
    section = content.setdefault("fabric", {}) if isinstance(content, dict) else None
    if not isinstance(section, dict):
        return {}  # for validation to refuse
    if "http" in section and ("host" in content or "port" in content):
        raise ConfigError("say fabric.http, or host and port, not both", where=f"{source}: fabric.http")
    if secrets:
        section.pop("secretFile", None)
        section.pop("secretCommand", None)
    given: dict[str, tuple[str, object]] = {
        key: (name, environment[name]) for name, key in _VARIABLES.items() if name in environment
    }
    given |= {key: (_OPTIONS.get(key, f"--{key}"), value) for key, value in arguments.items() if value is not None}
    for key, (_, value) in given.items():
        place, *nested = section, *key.split(".")
        for part in nested[:-1]:
            place = place.setdefault(part, {}) if isinstance(place, dict) else None
        if isinstance(place, dict):  # else for validation to refuse
            place[nested[-1]] = value
    return {key: origin for key, (origin, _) in given.items()}


def _http(file: ConfigFile, source: str, environment: Mapping[str, str], origins: Mapping[str, str]) -> tuple[Address, str]:
    """Where HTTP listens, and who said so: `http`, else mcp-server-runner's host and port, the file's before HOST and PORT."""
    if file.fabric.http:
        return Address(*split_address(file.fabric.http)), origins.get("http", f"{source}: fabric.http")
    port: int | str = file.port if file.port is not None else environment.get("PORT", 8080)
    if isinstance(port, str) and not (port.isdecimal() and int(port) <= 65535):
        raise ConfigError(f"{port!r} is not a port", where="PORT")
    host = file.host or environment.get("HOST", "127.0.0.1")
    return Address(host.strip("[]"), int(port)), f"{source}: host" if file.host else "HOST"


def _definition(
    name: str, server: ServerSection, folder: Path, inherited: Mapping[str, str], patience: float
) -> ServerDefinition:
    health = server.health
    command, url = server.command or "", address(server.url, server.type) if server.url else ""
    # without the values of env: the digest is announced, and a short secret could be guessed from it; and without what may
    # differ from machine to machine, folders and capacity
    written = [command, server.args, sorted(server.env), server.cwd, server.retry_calls, server.sessions]
    if url:
        written += [parse_link_url(url).where, sorted(server.headers)]
    return ServerDefinition(
        name=name,
        url=url,
        headers=tuple(server.headers.items()),
        trust=_trust(server.tls, folder),
        command=str(folder / command) if os.sep in command else command,
        args=server.args,
        env={**inherited, **server.env},
        cwd=str(folder / (server.cwd or "")),
        max_in_flight=server.max_in_flight,
        warm=server.warm,
        max_processes=server.max_processes,
        retry_calls=server.retry_calls,
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
        digest=hashlib.blake2b(json.dumps(written).encode(), digest_size=16).hexdigest(),
    )


def _trust(section: TrustSection, folder: Path) -> Trust:
    files = {"ca": section.ca, "certificate": section.certificate, "key": section.key}
    return Trust(**{name: str(folder / file) for name, file in files.items() if file})


def _refuse_exposure(settings: Settings, listens: Collection[str], origins: Mapping[str, str]) -> None:
    if bool(settings.auth_user) != bool(settings.auth_password):
        raise ConfigError("AUTH_USER and AUTH_PASSWORD go together; one is missing", where=_ENVIRONMENT)
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
        if settings.source == _ENVIRONMENT:
            raise ConfigError("nothing to serve: name a config file, or set CONFIG_FILE, or PROGRAM and ARGS")
        raise ConfigError("all are disabled" if file.mcp_servers else "names no server", where=f"{settings.source}: mcpServers")
    if not file.default_server:
        return names[0] if len(names) == 1 else None
    if file.default_server in names or not (names or needs_servers):
        return file.default_server
    raise ConfigError(
        f"no enabled server is called that; there are {', '.join(names)}", where=f"{settings.source}: defaultServer"
    )

"""Makes the definition of each MCP server from its checked section: with complete paths and environment, and a digest."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from fabric.config.files.env_file import read_env_file
from fabric.config.files.source import WrittenConfig
from fabric.config.schema.file import ConfigFile
from fabric.config.schema.server import ServerSection, TrustSection, address
from fabric.config.schema.values import is_ours
from fabric.config.settings.server import ServerDefinition
from fabric.core.bridge.processes.health import Checks
from fabric.errors import ConfigError
from fabric.links.registry import parse_url
from fabric.links.stdio import container
from fabric.links.stdio.command import environment as child_environment
from fabric.security.tls import Trust

_PASSWORD = re.compile(r"//[^/@]*@")


def definitions(file: ConfigFile, written: WrittenConfig, environment: Mapping[str, str]) -> dict[str, ServerDefinition]:
    """The servers of the file that are not disabled, by name. environment: the variables of our process."""
    inherited = {name: value for name, value in environment.items() if not is_ours(name)}
    if written.folder:  # without a file, only the environment can configure PROGRAM: it inherits all, as from mcp-server-runner
        asked = {name: value for name, value in inherited.items() if name in file.fabric.inherit_env}
        of_engine = {name: value for name, value in inherited.items() if name in container.ENGINE_VARIABLES}
        engine = child_environment(inherited, {**of_engine, **asked})
        inherited = child_environment(inherited, asked)
    else:
        engine = inherited
    return {
        name: _definition(name, server, written, engine if server.image else inherited, file.fabric.idle_timeout)
        for name, server in file.mcp_servers.items()
        if not server.disabled
    }


def _definition(
    name: str, server: ServerSection, written: WrittenConfig, inherited: Mapping[str, str], patience: float
) -> ServerDefinition:
    folder, entry = written.folder or Path.cwd(), written.entries[name]
    url = address(server.url, server.type) if server.url else ""
    own, unready = _own_variables(name, server, written, folder)
    contained = _container(name, server, own, written, folder) if server.image else None
    command = contained.engine[0] if contained else server.command or ""
    return ServerDefinition(
        name=name,
        url=url,
        headers=tuple(server.headers.items()),
        trust=_trust(server.tls, folder),
        command=str(folder / command) if os.sep in command else command,
        args=() if contained else server.args,
        env={key: value for key, value in {**inherited, **own}.items() if value is not None},
        cwd=str(folder / (server.cwd or "")),
        max_in_flight=server.max_in_flight,
        warm=server.warm,
        max_processes=server.max_processes,
        max_log_lines=server.max_log_lines,
        retry_calls=server.retry_calls,
        era=server.era or "",
        start_timeout=server.start_timeout,
        grace=(10.0 if contained else 5.0) if server.grace is None else server.grace,
        checks=_checks(server, patience),
        check_command=tuple(shlex.split(server.health.command or "")),
        digest=_digest(server, entry),
        container=contained,
        unready=unready,
        shown=_shown(url, entry.get("url") or ""),
    )


def _own_variables(
    name: str, server: ServerSection, written: WrittenConfig, folder: Path
) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """The variables that are the server's own, None for one to remove, and a line for each reason why some are missing."""
    unready = written.unready.get(name, ())
    env: dict[str, str | None] = {}
    if server.env_file:
        try:
            env |= read_env_file(folder / server.env_file)
        except ConfigError as error:
            unready += (f"{written.source.name}: {written.source.servers_at}.{name}.envFile: {error.reason}",)
    return {**env, **server.env}, unready


def _container(
    name: str, server: ServerSection, own: Mapping[str, str | None], written: WrittenConfig, folder: Path
) -> container.Container:
    """How to run the server's container. Raises ConfigError for a variable that it cannot have."""
    try:
        container.refuse_engine_variables(own)
    except ConfigError as error:
        raise ConfigError(error.reason, where=f"{written.source.name}: {written.source.servers_at}.{name}.env") from None
    program, *engine_args = shlex.split(server.engine)
    return container.Container(
        image=server.image or "",
        args=server.args,
        variables=tuple(sorted(key for key, value in own.items() if value is not None)),
        volumes=tuple(str(folder / each) if each.startswith(".") else each for each in server.volumes),
        ports=server.ports,
        network=server.network or "",
        options=server.options,
        engine=(str(folder / program) if os.sep in program else program, *engine_args),
    )


def _checks(server: ServerSection, patience: float) -> Checks:
    health = server.health
    return Checks(
        enabled=health.enabled,
        interval=health.interval,
        timeout=health.timeout,
        down=health.down,
        up=health.up,
        command=health.command is not None,
        ping=not server.url,  # HTTP takes no request before the handshake
        patience=patience,
    )


def _shown(url: str, written: str) -> str:
    """The URL for people, whose path has variables by name, as it was written; empty for a URL without variables."""
    if not url or "${" not in written:
        return ""
    path = written.partition("://")[2].partition("?")[0].partition("/")[2]
    return msgspec.structs.replace(parse_url(url), path=f"/{path}", parameters=()).where


def _digest(server: ServerSection, entry: Mapping[str, Any]) -> str:
    """A digest that is equal for equal definitions, on any machine. entry: the section as it was written.

    It is announced, and a short secret could be guessed from it: it covers variables by name, and neither the values of env nor
    user, password and query of a url. It leaves out what may differ between machines: the file's folder, the container engine
    and its options, and capacity.
    """
    args = [each if isinstance(each, str) else text for each, text in zip(entry.get("args") or (), server.args, strict=False)]
    defined = [entry.get("command") or "", args, sorted(server.env), entry.get("cwd"), server.retry_calls, server.sessions]
    if server.env_file:
        defined.append(server.env_file)
    if url := entry.get("url"):
        place = _PASSWORD.sub("//", url.partition("?")[0]) if "${" in url else parse_url(address(url, server.type)).where
        defined += [place, sorted(server.headers)]
    if image := entry.get("image"):
        defined += [image, *(entry.get(key) for key in ("volumes", "ports", "network"))]
    if server.era:
        defined.append(server.era)
    return hashlib.blake2b(json.dumps(defined).encode(), digest_size=16).hexdigest()


def _trust(section: TrustSection, folder: Path) -> Trust:
    files = {"ca": section.ca, "certificate": section.certificate, "key": section.key}
    return Trust(**{name: str(folder / file) for name, file in files.items() if file})

"""Reads the source of a configuration: a file, the URI of one server, or mcp-server-runner's PROGRAM and ARGS.

The keys of a file are converted to ours (hosts.py) and its variables are replaced (variables.py). Only a source that cannot be
read is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from fabric.config.files.docker_url import DockerUrl
from fabric.config.files.hosts import adopt
from fabric.config.files.json_file import content_of
from fabric.config.files.uri import has_scheme
from fabric.config.files.uri import parse as parse_uri
from fabric.config.files.variables import Variables, folder_of
from fabric.config.settings.server import COMMAND_LINE, ENVIRONMENT, ConfigSource
from fabric.errors import ConfigError
from fabric.links.stdio.command import ServerCommand
from fabric.links.url import LinkUrl


class WrittenConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration as it was written, before it is checked."""

    content: Any
    """Its JSON, in the format of ConfigFile."""
    source: ConfigSource
    folder: Path | None = None
    """The folder to which its paths are relative; None for a source that is no file."""
    entries: Mapping[str, Mapping[str, Any]] = {}
    """The servers as they were before their variables were replaced."""
    unready: Mapping[str, tuple[str, ...]] = {}
    """By server, a line for each variable that has no value here."""


def read(place: str | None, environment: Mapping[str, str]) -> WrittenConfig:
    """The configuration at `place`, a file's name or a server's URI; without one, PROGRAM and ARGS. Raises ConfigError."""
    if not place:
        return _without_file(_of_program(environment), ENVIRONMENT)
    if has_scheme(place) and not Path(place).exists():
        return _without_file(_of_uri(place, environment), COMMAND_LINE)
    return _of_file(Path(place), environment)


def _of_file(path: Path, environment: Mapping[str, str]) -> WrittenConfig:
    folder = folder_of(path)
    adopted = adopt(content_of(path, environment), str(path))
    content, entries = adopted.content, _entries(adopted.content)
    variables = Variables(environment, folder, adopted.inputs)
    unready = {}
    for name, entry in entries.items():
        content["mcpServers"][name], lines = variables.replaced(entry, f"{path}: {adopted.servers_at}.{name}")
        if lines:
            unready[name] = lines
    source = ConfigSource(name=str(path), servers_at=adopted.servers_at, passed_over=adopted.passed_over)
    return WrittenConfig(content=content, source=source, folder=folder, entries=entries, unready=unready)


def _without_file(content: dict[str, Any], name: str) -> WrittenConfig:
    return WrittenConfig(content=content, source=ConfigSource(name=name), entries=_entries(content))


def _entries(content: Any) -> dict[str, dict[str, Any]]:
    """The servers of a content that has not been checked."""
    servers = content.get("mcpServers") if isinstance(content, dict) else None
    return {name: entry for name, entry in servers.items() if isinstance(entry, dict)} if isinstance(servers, dict) else {}


def _of_program(environment: Mapping[str, str]) -> dict[str, Any]:
    """PROGRAM and ARGS as the content of a file."""
    if not (program := environment.get("PROGRAM")):
        return {}
    args = environment["ARGS"].split(",") if "ARGS" in environment else []
    return {"mcpServers": {"default": {"command": program, "args": args}}}


def _of_uri(uri: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The URI of a server as the content of a file. environment: has the variables that a `docker:` URL names."""
    try:
        meant = parse_uri(uri)
    except ConfigError as error:
        raise ConfigError(error.reason, where=COMMAND_LINE) from None
    match meant:
        case ServerCommand(command, args):
            entry: dict[str, Any] = {"command": command, "args": list(args)}
        case DockerUrl():
            entry, lines = Variables(environment, Path.cwd(), None).replaced(meant.section(), COMMAND_LINE)
            if lines:
                raise ConfigError("\n".join(lines))
        case LinkUrl():
            entry = {"url": uri}
        case _:
            raise ConfigError("this is a broker's URL, not a server's; use --broker", where=COMMAND_LINE)
    return {"mcpServers": {"default": entry}}

"""What was written, and by whom: a file, a URI, or PROGRAM and ARGS; and what environment and command line lay over it.

A file comes in the shape of ours (hosts.py), its variables replaced (variables.py). Refused here is only what cannot be read,
or what nobody could tell any more afterwards.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic.alias_generators import to_camel

from fabric.errors import ConfigError
from fabric.links.stdio.command import ServerCommand
from fabric.links.url import LinkUrl
from fabric.runtime.hosts import adopt
from fabric.runtime.json_file import content_of
from fabric.runtime.schema import FabricSection, leaves
from fabric.runtime.settings import COMMAND_LINE, ENVIRONMENT
from fabric.runtime.uri import has_scheme
from fabric.runtime.uri import parse as parse_uri
from fabric.runtime.variables import Variables, folder_of

_VARIABLES = {f"FABRIC_{'_'.join(path).upper()}": ".".join(map(to_camel, path)) for path in leaves(FabricSection)}
_SECRET_VARIABLES = ("FABRIC_SECRET", "FABRIC_SECRET_FILE", "FABRIC_SECRET_COMMAND")
_OPTIONS = {
    "name": "--fabric",
    "allowUnauthenticated": "--allow-unauthenticated",
    "logLevel": "--log-level",
    "logFormat": "--log-format",
}


class Written(NamedTuple):
    """A configuration as JSON has it, in the shape of ConfigFile.

    source, servers_at, passed_over: as in Settings. folder: to which its paths are relative; None for what is no file. entries:
    its servers as they were before their variables were replaced. unready: for each server that has some, its lines.
    """

    content: Any
    source: str
    folder: Path | None = None
    entries: Mapping[str, Mapping[str, Any]] = {}
    servers_at: str = "mcpServers"
    passed_over: tuple[str, ...] = ()
    unready: Mapping[str, tuple[str, ...]] = {}


def read(place: str | None, environment: Mapping[str, str]) -> Written:
    """What `place` holds, a file's name or a server's URI; without one what PROGRAM and ARGS say. Raises ConfigError."""
    if not place:
        content = _of_program(environment)
        return Written(content, ENVIRONMENT, entries=_entries(content))
    if has_scheme(place) and not Path(place).exists():
        content = _of_uri(place)
        return Written(content, COMMAND_LINE, entries=_entries(content))
    return _of_file(Path(place), environment)


def _of_file(path: Path, environment: Mapping[str, str]) -> Written:
    source, folder = str(path), folder_of(path)
    adopted = adopt(content_of(path, environment), source)
    content, entries = adopted.content, _entries(adopted.content)
    variables = Variables(environment, folder, adopted.inputs)
    unready = {}
    for name, entry in entries.items():
        content["mcpServers"][name], lines = variables.replaced(entry, f"{source}: {adopted.servers_at}.{name}")
        if lines:
            unready[name] = lines
    return Written(content, source, folder, entries, adopted.servers_at, adopted.passed_over, unready)


def _entries(content: Any) -> dict[str, dict[str, Any]]:
    """The servers of a content that may not be valid yet."""
    servers = content.get("mcpServers") if isinstance(content, dict) else None
    return {name: entry for name, entry in servers.items() if isinstance(entry, dict)} if isinstance(servers, dict) else {}


def override(content: Any, source: str, environment: Mapping[str, str], arguments: Mapping[str, object]) -> dict[str, str]:
    """Lay environment and command line over the file's `fabric` keys; returns who said each key that is not the file's.

    arguments: as for `load` of config.py. Raises ConfigError.
    """
    known = [*_VARIABLES, "FABRIC_SECRET"]
    for name in environment.keys() - known:
        # only near misses: other software has FABRIC_ variables too
        if name.startswith("FABRIC_") and (guess := difflib.get_close_matches(name, known, 1, 0.9)):
            raise ConfigError(f"unknown variable; did you mean {guess[0]}?", where=name)
    if len(secrets := [name for name in _SECRET_VARIABLES if name in environment]) > 1:
        raise ConfigError(f"{' and '.join(secrets)} are set; set one", where=ENVIRONMENT)
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
        raise ConfigError(error.reason, where=COMMAND_LINE) from None
    match meant:
        case ServerCommand(command, args):
            entry: dict[str, Any] = {"command": command, "args": list(args)}
        case LinkUrl():
            entry = {"url": uri}
        case _:
            raise ConfigError("this is a broker's URL, not a server's; say --broker", where=COMMAND_LINE)
    return {"mcpServers": {"default": entry}}

"""Merges the environment and the command line into the `fabric` keys of a file, and records the origin of each key.

Only errors that could not be seen after the merge are refused here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from pydantic.alias_generators import to_camel

from fabric.config.files.source import WrittenConfig
from fabric.config.schema.fabric import FabricSection
from fabric.config.schema.section import leaves
from fabric.config.settings.server import ENVIRONMENT
from fabric.errors import ConfigError

_VARIABLES = {f"FABRIC_{'_'.join(path).upper()}": ".".join(map(to_camel, path)) for path in leaves(FabricSection)}
_SECRET_VARIABLES = ("FABRIC_SECRET", "FABRIC_SECRET_FILE", "FABRIC_SECRET_COMMAND")
_OPTIONS = {
    "name": "--fabric",
    "allowUnauthenticated": "--allow-unauthenticated",
    "logLevel": "--log-level",
    "logFormat": "--log-format",
}


class Origins(msgspec.Struct, frozen=True):
    """Where each key of the `fabric` section comes from. Keys are in camelCase, nested ones with dots."""

    source: str
    """The name of the source of all keys that are not in `others`."""
    folder: Path
    """The folder to which the paths in that source are relative."""
    others: Mapping[str, str] = {}
    """The variable or option of each key that the environment or the command line gave."""

    def of(self, key: str) -> str:
        """The origin of a key, for people."""
        return self.others.get(key, f"{self.source}: fabric.{key}")

    def path(self, key: str, written: str) -> Path:
        """The path that was written for a key: relative to the file, or to our working directory if no file gave it."""
        return (Path.cwd() if key in self.others else self.folder) / written


def override(written: WrittenConfig, environment: Mapping[str, str], arguments: Mapping[str, object]) -> Origins:
    """Write the values of environment and command line into the content. Returns the origins of all keys.

    arguments: as for `load`. Raises ConfigError.
    """
    known = [*_VARIABLES, "FABRIC_SECRET"]
    for name in environment.keys() - known:
        # only near misses: other software has FABRIC_ variables too
        if name.startswith("FABRIC_") and (guess := difflib.get_close_matches(name, known, 1, 0.9)):
            raise ConfigError(f"unknown variable; did you mean {guess[0]}?", where=name)
    if len(secrets := [name for name in _SECRET_VARIABLES if name in environment]) > 1:
        raise ConfigError(f"{' and '.join(secrets)} are set; set one", where=ENVIRONMENT)
    content, source, folder = written.content, written.source.name, written.folder or Path.cwd()
    section = content.setdefault("fabric", {}) if isinstance(content, dict) else None
    if not isinstance(section, dict):
        return Origins(source, folder)  # the schema refuses it
    if "http" in section and ("host" in content or "port" in content):
        raise ConfigError("give fabric.http, or host and port, not both", where=f"{source}: fabric.http")
    if secrets:
        section.pop("secretFile", None)
        section.pop("secretCommand", None)
    given: dict[str, tuple[str, object]] = {
        key: (name, environment[name]) for name, key in _VARIABLES.items() if name in environment
    }
    given |= {key: (_OPTIONS.get(key, f"--{key}"), value) for key, value in arguments.items() if value is not None}
    for key, (_, value) in given.items():
        _put(section, key.split("."), value)
    return Origins(source, folder, {key: origin for key, (origin, _) in given.items()})


def _put(section: dict[str, Any], path: list[str], value: object) -> None:
    """Set the key at `path`. A value on the way that is not an object is left for the schema to refuse."""
    place: Any = section
    for part in path[:-1]:
        place = place.setdefault(part, {}) if isinstance(place, dict) else None
    if isinstance(place, dict):
        place[path[-1]] = value

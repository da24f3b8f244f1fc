"""Writes the commands that reach the fabric of this process from a second terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from fabric.brokers import registry
from fabric.config.load import load
from fabric.config.settings.process import Settings
from fabric.errors import ConfigError


def typed(settings: Settings, environment: Mapping[str, str], command: str, arguments: str = "") -> str:
    """`mcp-fabric <command> <arguments>` with the options that it needs where no FABRIC_ variable is set; arguments are quoted.

    A broker's credentials are not shown: `***` stands for them.
    """
    plain = {name: value for name, value in environment.items() if not name.startswith("FABRIC_") and name != "CONFIG_FILE"}
    words, before = _options(settings, plain)
    return " ".join(filter(None, [*before, _program(), command, shlex.join(words), arguments]))


def _options(settings: Settings, plain: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The fewest options that lead to this fabric, and the variables to set in front of the command."""
    ours = _reached(settings)
    default, file = _loaded(None, plain), settings.source.name
    of_file = _loaded(file, plain) if Path(file).is_file() else None
    if default is not None and _reached(default) == ours:
        return [], []
    if of_file is not None and _reached(of_file) == ours:
        return ["--config", file], []
    words = ["--fabric", settings.fabric.name] if default is None or settings.fabric.name != default.fabric.name else []
    if settings.fabric.broker is not None:
        return [*words, "--broker", registry.masked(settings.fabric.broker)], []
    moved = default is None or settings.fabric.state != default.fabric.state
    return words, [f"FABRIC_STATE={shlex.quote(str(settings.fabric.state))}"] if moved else []


def _loaded(file: str | None, environment: Mapping[str, str]) -> Settings | None:
    try:
        return load(file, environment=environment, arguments={})
    except ConfigError:
        return None


def _reached(settings: Settings) -> tuple[object, ...]:
    """The settings that decide which fabric a process joins, and with which secret."""
    given = settings.fabric.broker and (settings.secret.secret_file, settings.secret.secret_command)
    return settings.fabric.name, settings.fabric.broker, settings.fabric.broker is None and settings.fabric.state, given


def _program() -> str:
    """The word that starts the running program again from here."""
    given, on_path = sys.argv[0], shutil.which("mcp-fabric")
    if os.sep not in given or (on_path and Path(on_path).resolve() == Path(given).resolve()):
        return "mcp-fabric"
    if Path(given).is_relative_to(Path.cwd()):  # some shells make what they execute absolute
        given = str(Path(given).relative_to(Path.cwd()))
    return shlex.quote(given)

"""Commands as they are typed in a second terminal to reach the fabric of this process."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from fabric.brokers import registry
from fabric.errors import ConfigError
from fabric.runtime.config import load
from fabric.runtime.settings import Settings


def typed(settings: Settings, environment: Mapping[str, str], command: str, arguments: str = "") -> str:
    """`mcp-fabric <command> <arguments>` with the options that it needs where no FABRIC_ variable is set; arguments are quoted.

    A broker's credentials are not shown: `***` stands for them.
    """
    plain = {name: value for name, value in environment.items() if not name.startswith("FABRIC_") and name != "CONFIG_FILE"}
    words, before = _options(settings, plain)
    return " ".join(filter(None, [*before, _program(), command, shlex.join(words), arguments]))


def _options(settings: Settings, plain: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The least options that lead to this fabric, and the variables to set before them."""
    ours = _reached(settings)
    default, of_file = _loaded(None, plain), _loaded(settings.source, plain) if Path(settings.source).is_file() else None
    if default is not None and _reached(default) == ours:
        return [], []
    if of_file is not None and _reached(of_file) == ours:
        return ["--config", settings.source], []
    words = ["--fabric", settings.name] if default is None or settings.name != default.name else []
    if settings.broker is not None:
        return [*words, "--broker", registry.masked(settings.broker)], []
    moved = default is None or settings.state != default.state
    return words, [f"FABRIC_STATE={shlex.quote(str(settings.state))}"] if moved else []


def _loaded(file: str | None, environment: Mapping[str, str]) -> Settings | None:
    try:
        return load(file, environment=environment, arguments={})
    except ConfigError:
        return None


def _reached(settings: Settings) -> tuple[object, ...]:
    """What decides which fabric a process joins, and whether it may."""
    given = settings.broker and (settings.secret_file, settings.secret_command)
    return settings.name, settings.broker, settings.broker is None and settings.state, given


def _program() -> str:
    """How the program that runs can be started again from here."""
    given, on_path = sys.argv[0], shutil.which("mcp-fabric")
    if os.sep not in given or (on_path and Path(on_path).resolve() == Path(given).resolve()):
        return "mcp-fabric"
    if Path(given).is_relative_to(Path.cwd()):  # some shells make what they execute absolute
        given = str(Path(given).relative_to(Path.cwd()))
    return shlex.quote(given)

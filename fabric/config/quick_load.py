"""Loads the settings of a process that is given only which fabric to join, without importing the schema.

pydantic's import takes as long as all else that `mcp-fabric ls` does. load.py accepts whatever is accepted here, with the same
result. All other settings, and thus every refusal, are left to load.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fabric.config.schema.values import broker_url, channel_part, is_ours, plain
from fabric.config.settings.process import FabricSettings, LogSettings, SecretSettings, Settings
from fabric.config.settings.server import ENVIRONMENT, ConfigSource
from fabric.config.state_folder import state_path

_VARIABLES = {"FABRIC_NAME": "name", "FABRIC_BROKER": "broker", "FABRIC_STATE": "state", "FABRIC_SECRET_FILE": "secretFile"}
_LOG_KEYS = {"logLevel": "log_level", "logFormat": "log_format"}
_KEYS = _LOG_KEYS.keys() | _VARIABLES.values()
_OF_SERVERS = {"CONFIG_FILE", "PROGRAM", "ARGS", "HOST", "PORT"}


def load(environment: Mapping[str, str], arguments: Mapping[str, object]) -> Settings | None:
    """The settings that load.py would give, without a file, a process that listens nowhere; None: load.py has to judge them."""
    environment = {name: value for name, value in environment.items() if value}
    secret = environment.pop("FABRIC_SECRET", None)
    named = {name for name in environment if is_ours(name) or name in _OF_SERVERS}
    given: dict[str, Any] = {key: environment[name] for name, key in _VARIABLES.items() if name in named}
    given |= {key: value for key, value in arguments.items() if value is not None}
    if not (named <= _VARIABLES.keys() and given.keys() <= _KEYS and all(given.values())) or (secret and "secretFile" in given):
        return None
    with suppress(ValueError):
        return _settings(given, secret, environment)
    return None


def _settings(given: Mapping[str, Any], secret: str | None, environment: Mapping[str, str]) -> Settings:
    """The settings. Raises ValueError for a value that is refused. The command line has checked the values that are choices."""
    fabric: dict[str, Any] = {}
    if "name" in given:
        fabric["name"] = channel_part(given["name"])
    if "broker" in given:
        fabric["broker"] = broker_url(given["broker"])
    secret_file = Path.cwd() / plain(given["secretFile"]) if "secretFile" in given else None
    state = Path.cwd() / plain(given["state"]) if "state" in given else state_path(environment)
    return Settings(
        source=ConfigSource(name=ENVIRONMENT),
        fabric=FabricSettings(state=state, **fabric),
        secret=SecretSettings(secret=secret, secret_file=secret_file),
        log=LogSettings(**{field: given[key] for key, field in _LOG_KEYS.items() if key in given}),
    )

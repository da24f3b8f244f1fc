"""The settings of a process that was told only which fabric to join, without the schema: nobody waits for pydantic's import.

It takes as long as all else that `mcp-fabric ls` does. What is accepted here, config.py accepts with the same result; whatever
else was said, and with it every refusal, is left to config.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fabric.runtime.settings import ENVIRONMENT, Settings
from fabric.runtime.state import state_path
from fabric.runtime.values import broker_url, channel_part, plain
from fabric.runtime.variables import is_ours

_VARIABLES = {"FABRIC_NAME": "name", "FABRIC_BROKER": "broker", "FABRIC_STATE": "state", "FABRIC_SECRET_FILE": "secretFile"}
_CHOICES = {"logLevel": "log_level", "logFormat": "log_format"}
_KEYS = _CHOICES.keys() | _VARIABLES.values()
_OF_SERVERS = {"CONFIG_FILE", "PROGRAM", "ARGS", "HOST", "PORT"}


def load(environment: Mapping[str, str], arguments: Mapping[str, object]) -> Settings | None:
    """The settings as `load` of config.py has them without a file, for who listens nowhere; None if that has to judge them."""
    environment = {name: value for name, value in environment.items() if value}
    secret = environment.pop("FABRIC_SECRET", None)
    said = {name for name in environment if is_ours(name) or name in _OF_SERVERS}
    given: dict[str, Any] = {key: environment[name] for name, key in _VARIABLES.items() if name in said}
    given |= {key: value for key, value in arguments.items() if value is not None}
    if not (said <= _VARIABLES.keys() and given.keys() <= _KEYS and all(given.values())) or (secret and "secretFile" in given):
        return None
    with suppress(ValueError):
        return _settings(given, secret, environment)
    return None


def _settings(given: Mapping[str, Any], secret: str | None, environment: Mapping[str, str]) -> Settings:
    """Raises ValueError for a value that is refused. What is a choice was judged where the command line was read."""
    chosen = {field: given[key] for key, field in _CHOICES.items() if key in given}
    if "name" in given:
        chosen["name"] = channel_part(given["name"])
    if "broker" in given:
        chosen["broker"] = broker_url(given["broker"])
    if "secretFile" in given:
        chosen["secret_file"] = Path.cwd() / plain(given["secretFile"])
    state = Path.cwd() / plain(given["state"]) if "state" in given else state_path(environment)
    return Settings(source=ENVIRONMENT, state=state, secret=secret, **chosen)

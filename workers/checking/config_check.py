"""`mcp-fabric config check`: refuses all that can be refused before anything starts."""

from __future__ import annotations

from collections.abc import Mapping

from fabric.config.load import load
from fabric.config.secret import keyring
from fabric.config.server_definition import refuse_missing_commands
from fabric.config.settings import Settings


def check(path: str | None, environment: Mapping[str, str]) -> Settings:
    """The settings as `up` would have them. Raises ConfigError as `up` would; makes no secret, no folder and no connection."""
    settings = load(path, environment=environment, arguments={}, needs_servers=True, listens=("http", "admin", "others"))
    refuse_missing_commands(settings)
    if not settings.makes_its_secret:
        keyring(settings)
    return settings

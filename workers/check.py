"""`config check`: everything that can be refused before anything starts, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from fabric.runtime.config import load
from fabric.runtime.keys import keyring
from fabric.runtime.settings import Settings, refuse_missing_commands


def check(path: str | None, environment: Mapping[str, str]) -> Settings:
    """The settings as `up` would have them. Raises ConfigError as `up` would; makes no secret, no folder and no connection."""
    settings = load(path, environment=environment, arguments={}, needs_servers=True, listens=("http", "admin", "doors"))
    refuse_missing_commands(settings)
    if not settings.makes_its_secret:
        keyring(settings)
    return settings

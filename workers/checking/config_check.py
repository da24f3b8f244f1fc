"""`mcp-fabric config check`: reports the errors that can be known before anything starts."""

from __future__ import annotations

from collections.abc import Mapping

from fabric.config.load import load
from fabric.config.runnable import refuse_unrunnable_servers
from fabric.config.secret import keyring
from fabric.config.settings.process import Settings


def check(path: str | None, environment: Mapping[str, str]) -> Settings:
    """The settings that `up` would have. Raises ConfigError as `up` would. Makes no secret, no folder and no connection."""
    settings = load(path, environment=environment, arguments={}, needs_servers=True, listens=("http", "admin", "others"))
    refuse_unrunnable_servers(settings)
    if not settings.makes_its_secret:
        keyring(settings)
    return settings

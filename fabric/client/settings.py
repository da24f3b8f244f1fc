"""The settings by which a Python program joins a fabric: those of the commands, from the FABRIC_ variables."""

from __future__ import annotations

import os

import msgspec

from fabric.config import quick_load
from fabric.config.settings.process import Settings

_FOLDERS = {"HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"}
"""Variables that say where the state folder is."""
_OF_SERVE = "FABRIC_URL"
"""A variable that only `serve` reads."""


def joining(url: str, fabric: str | None) -> Settings:
    """The settings of a member of the fabric of that name at the broker `url`; None: FABRIC_NAME names it.

    A program waits, so the first failed attempt to reach the broker is the last. Raises ConfigError.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if (name.startswith("FABRIC_") and name != _OF_SERVE) or name in _FOLDERS
    }
    arguments = {"broker": url, "name": fabric}
    settings = quick_load.load(environment, arguments)
    if settings is None:
        from fabric.config.load import load  # imported here: its schema takes as long to import as all the rest

        settings = load(None, environment=environment, arguments=arguments)
    retry = msgspec.structs.replace(settings.fabric.retry, first_attempts=1)
    return msgspec.structs.replace(settings, fabric=msgspec.structs.replace(settings.fabric, retry=retry))

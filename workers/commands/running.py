"""Turns the arguments of a command into settings, and runs the coroutine of the command, which is imported only then."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from fabric.config.settings.process import Settings  # --help does not wait for its import


def given_options(broker: str | None, fabric: str | None, **others: object) -> dict[str, object]:
    """The options of a command line, by the keys of the file's `fabric` section; None is not given."""
    return {"broker": broker, "name": fabric, **others}


def log_options(level: str | None, format: str | None, *, quiet: bool) -> dict[str, object]:
    """The options of logging, by the keys of the `fabric` section. Raises BadParameter, which ends with exit code 2."""
    if quiet and level:
        raise typer.BadParameter("give --quiet or --log-level, not both", param_hint="--quiet")
    return {"logLevel": "error" if quiet else level, "logFormat": format}


def settings_of(
    config: str | None, given: dict[str, object], *, needs_servers: bool = False, listens: tuple[str, ...] = ()
) -> Settings:
    """The settings from fabric/config/load.py, for the environment of this process. Raises ConfigError."""
    from fabric.config import quick_load

    joins_only = config is None and not needs_servers and not listens
    if joins_only and (settings := quick_load.load(os.environ, given)) is not None:
        return settings
    from fabric.config.load import load

    return load(config, environment=os.environ, arguments=given, needs_servers=needs_servers, listens=listens)


def servable(settings: Settings) -> Settings:
    """The same settings. Raises ConfigError if a server's command is not there."""
    from fabric.config.runnable import refuse_unrunnable_servers

    refuse_unrunnable_servers(settings)
    return settings


def refuse_missing_extras() -> None:
    """Raise ConfigError if OTEL_* ask for a package that is not installed."""
    from workers.process.extras import refuse_missing_extras

    refuse_missing_extras(os.environ)


def run(module: str, settings: Settings, *arguments: object, **options: object) -> None:
    """Await workers.<module>.run(settings, ...), and exit with the code that it returns."""
    import uvloop

    work: Callable[..., Coroutine[Any, Any, int]] = import_module(f"workers.{module}").run
    gc.freeze()
    gc.enable()  # cli.py has disabled it
    try:
        code = uvloop.run(work(settings, *arguments, **options))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the work is over: only its exit code is left
    raise typer.Exit(code)

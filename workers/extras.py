"""Optional parts of the installation: what the environment asks for has to be there."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from fabric.errors import ConfigError

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def refuse_missing_extras(environment: Mapping[str, str]) -> None:
    """Raise ConfigError, naming the command that installs it, if OTEL_* ask for OTLP and its exporter is not installed."""
    asks = next((name for name in ("OTEL_TRACES_EXPORTER", *_ENDPOINTS) if environment.get(name)), None)
    exporters = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if asks and "otlp" in exporters and not disabled and not _installed("opentelemetry.exporter.otlp.proto.http"):
        raise ConfigError("needs an extra; install it with `pip install 'mcp-transport-fabric[otlp]'`", where=asks)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing too
        return False

"""Optional parts of the installation: what the environment asks for has to be there."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from fabric.errors import ConfigError

_EXPORTER = "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def wants_traces(environment: Mapping[str, str]) -> bool:
    """Whether OTEL_* ask for traces: by an exporter or by an endpoint. Raises ConfigError for an exporter that is not ours."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get(_EXPORTER, "").strip() or ("otlp" if any(map(environment.get, _ENDPOINTS)) else "none")
    if exporter == "none":
        return False
    if exporter != "otlp":
        raise ConfigError(f"{exporter!r} is not supported; traces go to otlp, or to none", where=_EXPORTER)
    protocol = next((name for name in _PROTOCOLS if environment.get(name)), None)
    if protocol is not None and environment[protocol].strip() != "http/protobuf":
        raise ConfigError(f"{environment[protocol]!r} is not supported; use http/protobuf", where=protocol)
    return True


def refuse_missing_extras(environment: Mapping[str, str]) -> None:
    """Raise ConfigError, naming the command that installs it, if OTEL_* ask for OTLP and its exporter is not installed."""
    if wants_traces(environment) and not _installed("opentelemetry.exporter.otlp.proto.http"):
        asks = next(name for name in (_EXPORTER, *_ENDPOINTS) if environment.get(name))
        raise ConfigError("needs an extra; install it with `pip install 'mcp-transport-fabric[otlp]'`", where=asks)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing too
        return False

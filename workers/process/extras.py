"""Checks that the optional packages are installed for which OTEL_* ask."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Literal

from fabric.errors import ConfigError

Signal = Literal["traces", "metrics"]


def wants(environment: Mapping[str, str], signal: Signal) -> bool:
    """Whether OTEL_* ask for traces, or for metrics: by an exporter or by an endpoint.

    Raises ConfigError for an exporter or a protocol that is not supported.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter, *endpoints = _asking(signal)
    asked = environment.get(exporter, "").strip() or ("otlp" if any(map(environment.get, endpoints)) else "none")
    if asked == "none":
        return False
    if asked != "otlp":
        raise ConfigError(f"{asked!r} is not supported; {signal} go to otlp, or to none", where=exporter)
    protocols = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((name for name in protocols if environment.get(name)), None)
    if protocol is not None and environment[protocol].strip() != "http/protobuf":
        raise ConfigError(f"{environment[protocol]!r} is not supported; use http/protobuf", where=protocol)
    return True


def refuse_missing_extras(environment: Mapping[str, str]) -> None:
    """Raise ConfigError, naming the command that installs it, if OTEL_* ask for OTLP and its exporter is not installed."""
    signals: tuple[Signal, ...] = ("traces", "metrics")
    for signal in signals:
        if wants(environment, signal) and not _installed("opentelemetry.exporter.otlp.proto.http"):
            asks = next(name for name in _asking(signal) if environment.get(name))
            raise ConfigError("needs an extra; install it with `pip install 'mcp-transport-fabric[otlp]'`", where=asks)


def _asking(signal: Signal) -> tuple[str, str, str]:
    """The variables that ask for the signal: that of its exporter, then those of an endpoint."""
    name = signal.upper()
    return f"OTEL_{name}_EXPORTER", f"OTEL_EXPORTER_OTLP_{name}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing, too
        return False

"""The metrics of one process, by OpenTelemetry's API. The worker that makes them chooses the exporter."""

from __future__ import annotations

from opentelemetry.metrics import Meter

from fabric.core.telemetry_record import ConnectAttempt
from fabric.telemetry import names


class Metrics:
    """The instruments of one process."""

    def __init__(self, meter: Meter) -> None:
        self._connects = meter.create_counter(
            names.CONNECTS, "{attempt}", "Attempts to connect to the broker or to an MCP server"
        )

    def connect_attempt(self, attempt: ConnectAttempt) -> None:
        """Count an attempt to connect."""
        attributes: dict[str, str | bool] = {names.PEER: attempt.peer, names.RETRY: attempt.number > 1}
        attributes[names.SYSTEM if attempt.peer == "broker" else names.SERVER] = attempt.name
        if attempt.failure:
            attributes[names.ERROR_TYPE] = attempt.failure
        self._connects.add(1, attributes)

"""Traces and metrics as the OTEL_* variables ask for them: sampler, exporters and batches are the SDK's, which reads them."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

from fabric.core.peers.member import Identity
from fabric.core.telemetry_record import Record
from fabric.runtime.retry import Dialer
from workers.extras import refuse_missing_extras, wants
from workers.logs import logging_completed
from workers.process import Place

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

SYSTEMS = {"tls": "nats", "rediss": "redis", "amqp": "rabbitmq", "amqps": "rabbitmq"}
"""What OpenTelemetry calls a broker, where its URL's scheme says more."""


class Observed(msgspec.Struct, frozen=True):
    """What an `edge` or a `bridge` is made with: who it is, whom it tells of what it completes, how it connects."""

    identity: Identity
    completed: Callable[[Record], None]
    dialer: Dialer


def observed(place: Place, role: str) -> Observed:
    """For a new `edge` or `bridge`. Raises ConfigError where OTEL_* ask for what is not there."""
    identity, policy = place.identity(), place.settings.fabric.retry
    refuse_missing_extras(os.environ)
    traces, metrics = wants(os.environ, "traces"), wants(os.environ, "metrics")
    if not (traces or metrics):
        return Observed(identity, logging_completed(_untraced), Dialer(policy))
    resource = _resource(identity, role)
    dialer = _metered(place, resource) if metrics else Dialer(policy)
    if not traces:
        return Observed(identity, logging_completed(_untraced), dialer)
    found = _traced(place, identity, resource, dialer)
    return msgspec.structs.replace(found, completed=logging_completed(found.completed))


# ---------------------------------------------------------------- the SDK is imported here: who wants none need not wait
def _resource(identity: Identity, role: str) -> Resource:
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    from fabric.telemetry import names

    said = {names.SERVICE_NAME: f"mcp-fabric-{role}", names.SERVICE_VERSION: version("mcp-transport-fabric")}
    asked = OTELResourceDetector().detect()  # a name of the operator's own goes before ours
    return Resource.create(said).merge(asked).merge(Resource({names.SERVICE_INSTANCE: identity.incarnation}))


def _traced(place: Place, identity: Identity, resource: Resource, dialer: Dialer) -> Observed:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from fabric.telemetry.spans import SpanMaker
    from fabric.telemetry.tracing import Tracing

    sampler = TracerProvider(resource=resource, shutdown_on_exit=False).sampler
    scheme = place.url.partition(":")[0]
    maker = SpanMaker(resource, SYSTEMS.get(scheme, scheme), identity.wall)
    tracing = Tracing(sampler, maker, BatchSpanProcessor(OTLPSpanExporter()))
    place.closing.append(tracing.close)
    return Observed(msgspec.structs.replace(identity, spans=tracing.mint), tracing.completed, dialer)


def _metered(place: Place, resource: Resource) -> Dialer:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    from fabric.telemetry import names
    from fabric.telemetry.metrics import Metrics

    provider = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource, shutdown_on_exit=False)
    place.closing.append(lambda timeout: provider.shutdown(timeout * 1000))
    return Dialer(place.settings.fabric.retry, Metrics(provider.get_meter(names.SCOPE)).connect_attempt)


def _untraced(record: Record) -> None:
    """Tracing is off."""

"""Tracing as the OTEL_* variables ask for it: sampler, exporter and batches are the OpenTelemetry SDK's, which reads them."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version

import msgspec

from fabric.core.member import Identity
from fabric.core.record import Record
from workers.extras import refuse_missing_extras, wants_traces
from workers.process import Place

SYSTEMS = {"tls": "nats", "rediss": "redis"}
"""What OpenTelemetry calls a broker, where its URL's scheme says more."""


def traced(place: Place, role: str) -> tuple[Identity, Callable[[Record], None]]:
    """A new identity for an `edge` or a `bridge`, and who is to be told of what it completes.

    Raises ConfigError where OTEL_* ask for what is not there.
    """
    identity = place.identity()
    refuse_missing_extras(os.environ)
    if not wants_traces(os.environ):
        return identity, _untraced
    # the SDK: who does not trace shall not wait for it
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from fabric.telemetry import names
    from fabric.telemetry.spans import SpanMaker
    from fabric.telemetry.tracing import Tracing

    said = {names.SERVICE_NAME: f"mcp-fabric-{role}", names.SERVICE_VERSION: version("mcp-transport-fabric")}
    asked = OTELResourceDetector().detect()  # a name of the operator's own goes before ours
    resource = Resource.create(said).merge(asked).merge(Resource({names.SERVICE_INSTANCE: identity.incarnation}))
    sampler = TracerProvider(resource=resource, shutdown_on_exit=False).sampler
    scheme = place.url.partition(":")[0]
    maker = SpanMaker(resource, SYSTEMS.get(scheme, scheme), identity.wall)
    tracing = Tracing(sampler, maker, BatchSpanProcessor(OTLPSpanExporter()))
    place.closing.append(tracing.close)
    return msgspec.structs.replace(identity, spans=tracing.mint), tracing.completed


def _untraced(record: Record) -> None:
    """Tracing is off."""

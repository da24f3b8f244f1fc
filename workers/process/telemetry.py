"""Sets up traces and metrics as the OTEL_* variables ask. The SDK reads them, and has the sampler, exporters and batches."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

from fabric.core.peers.announcement import Role
from fabric.core.peers.member import Identity
from fabric.core.peers.snapshot import MemberSnapshot
from fabric.core.telemetry_record import Record
from fabric.links.registry import networks
from fabric.runtime.retry import Dialer
from workers.process.context import WorkerContext
from workers.process.extras import refuse_missing_extras, wants
from workers.process.logs import logging_completed
from workers.process.snapshots import Snapshots

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

SYSTEMS = {"tls": "nats", "rediss": "redis", "amqp": "rabbitmq", "amqps": "rabbitmq"}
"""OpenTelemetry's name of a broker, by the scheme of its URL where that differs."""


class Instruments(msgspec.Struct, frozen=True):
    """The parts of an edge or a bridge that telemetry changes."""

    identity: Identity
    """Mints the context of each span, where traces are on."""
    completed: Callable[[Record], None]
    """Called with the record of each request that is completed."""
    dialer: Dialer
    """Counts attempts to connect, where metrics are on."""
    observe: Callable[[Callable[[], MemberSnapshot]], None]
    """Called once, with what takes snapshots of the edge or the bridge, which metrics are read from where they are on."""


def instrumented(context: WorkerContext, role: Role) -> Instruments:
    """The instruments of a new edge or bridge. Raises ConfigError if OTEL_* ask for a package that is not installed."""
    identity, policy = context.identity(), context.settings.fabric.retry
    refuse_missing_extras(os.environ)
    traces, metrics = wants(os.environ, "traces"), wants(os.environ, "metrics")
    instruments = Instruments(identity, _untraced, Dialer(policy), _unobserved)
    if traces or metrics:
        resource = _resource(identity, role)
        if metrics:
            instruments = _metered(context, resource, role, instruments)
        if traces:
            instruments = _traced(context, resource, instruments)
    return msgspec.structs.replace(instruments, completed=logging_completed(instruments.completed))


# ------------------------------------------ the SDK is imported below, so that only processes with telemetry wait for it
def _resource(identity: Identity, role: Role) -> Resource:
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    from fabric.telemetry import names

    attributes = {names.SERVICE_NAME: f"mcp-fabric-{role}", names.SERVICE_VERSION: version("mcp-transport-fabric")}
    asked = OTELResourceDetector().detect()  # a service name from the operator wins over ours
    return Resource.create(attributes).merge(asked).merge(Resource({names.SERVICE_INSTANCE: identity.incarnation}))


def _traced(context: WorkerContext, resource: Resource, instruments: Instruments) -> Instruments:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from fabric.telemetry.spans import SpanMaker
    from fabric.telemetry.tracing import Tracing

    sampler = TracerProvider(resource=resource, shutdown_on_exit=False).sampler
    identity, scheme = instruments.identity, context.url.partition(":")[0]
    maker = SpanMaker(resource, SYSTEMS.get(scheme, scheme), identity.wall, networks())
    tracing = Tracing(sampler, maker, BatchSpanProcessor(OTLPSpanExporter()))
    context.closing.append(tracing.close)
    spans = msgspec.structs.replace(identity, spans=tracing.mint)
    return msgspec.structs.replace(instruments, identity=spans, completed=tracing.completed)


def _metered(context: WorkerContext, resource: Resource, role: Role, instruments: Instruments) -> Instruments:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    from fabric.telemetry import names
    from fabric.telemetry.metrics import OF_ROLE, Metrics

    provider = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource, shutdown_on_exit=False)
    context.closing.append(lambda timeout: provider.shutdown(timeout * 1000))
    metrics = Metrics(provider.get_meter(names.SCOPE))

    def observe(take: Callable[[], MemberSnapshot]) -> None:
        metrics.observe(OF_ROLE[role], Snapshots(take).newest)

    dialer = Dialer(context.settings.fabric.retry, metrics.connect_attempt)
    return msgspec.structs.replace(instruments, dialer=dialer, observe=observe)


def _untraced(record: Record) -> None:
    """Tracing is off."""


def _unobserved(take: Callable[[], MemberSnapshot]) -> None:
    """Metrics are off."""

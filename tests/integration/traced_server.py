"""An MCP server whose SDK traces it, for test_tracing.py: its spans go to the same receiver as the fabric's."""

import os
from pathlib import Path

from mcp.server.mcpserver import Context, MCPServer
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

server = MCPServer("traced")


@server.tool()
def traceparent(context: Context) -> str:
    """The traceparent this call came with."""
    return str((context.request_context.meta or {}).get("traceparent", ""))


@server.tool()
def fail() -> str:
    """A tool that fails."""
    raise ValueError("as asked")


@server.tool()
def die_once(mark: str) -> str:
    """Ends the process the first time; `mark` is a file that remembers it."""
    try:
        Path(mark).touch(exist_ok=False)
    except FileExistsError:
        return "alive"
    os._exit(1)


if __name__ == "__main__":
    provider = TracerProvider(resource=Resource.create({"service.name": "traced-server"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    server.run("stdio")

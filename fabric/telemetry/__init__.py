"""Traces and metrics, made by OpenTelemetry from the records of the core. Above it: workers. Below it: core and mcp."""

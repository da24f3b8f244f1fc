"""The parts that all worker processes share: broker and keys, lifecycle, logs, telemetry, and the making of edge and bridge."""

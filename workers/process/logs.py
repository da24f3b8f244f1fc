"""Configures logs: their levels, and their two formats, lines for people and JSON objects for machines."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable

import msgspec

from fabric.config.settings.process import Settings
from fabric.core.telemetry_record import Record
from workers.screen.stderr import detach_stderr
from workers.screen.terminal import harmless

log = logging.getLogger("mcp-fabric")

FIELDS = ("server", "child", "trace_id", "span_id")
"""Keys of a JSON line that a log call may give in `extra`; in a line for people, the message has those that matter."""

_OURS = ("mcp-fabric", "fabric")
_SILENT = ("nats", "aio_pika", "aiormq")  # the bus logs the state of the connection


def configure_logging(settings: Settings, level: str) -> None:
    """Send logs to stderr, without ever waiting for its reader. level: where the settings have none."""
    formatter = JsonLines() if settings.log.log_format == "json" else TextLines(_TEXT, "%H:%M:%S")

    def dropped(count: int) -> str:
        message = "%d lines were dropped here: stderr was not read"
        record = logging.LogRecord("mcp-fabric", logging.WARNING, __file__, 0, message, (count,), None)
        return formatter.format(record) + "\n"

    detach_stderr(dropped)
    handler: logging.Handler = logging.StreamHandler(sys.stderr) if sys.stderr is not None else logging.NullHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel((settings.log.log_level or level).upper())
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)


_TEXT = "%(asctime)s %(levelname)-7s %(message)s"


class TextLines(logging.Formatter):
    """Lines for people, without control characters for their terminals: some lines quote a server."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, or more with an exception."""
        return harmless(super().format(record))


class JsonLines(logging.Formatter):
    """A JSON object a line: `time` (UTC, RFC 3339), `level`, `message`, FIELDS that were given, the `error` of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its newline."""
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{whole}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= {name: value for name in FIELDS if (value := getattr(record, name, None))}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def logging_completed(completed: Callable[[Record], None]) -> Callable[[Record], None]:
    """`completed`, with a log line at `debug` for each request: its outcome and its trace."""
    if not log.isEnabledFor(logging.DEBUG):
        return completed

    def both(record: Record) -> None:
        request = f"{record.method} {record.target}".rstrip()
        took = (record.ended - record.arrived) * 1000
        about = {"server": record.server, **_trace(record.span or record.trace)}
        log.debug("%s: %s of %s: %s in %.1f ms", record.side, request, record.server, record.outcome, took, extra=about)
        completed(record)

    return both


def _trace(traceparent: str) -> dict[str, str]:
    match = re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}.*", traceparent)
    return dict(zip(("trace_id", "span_id"), match.groups(), strict=True)) if match else {}

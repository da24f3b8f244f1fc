"""The catalog of a server's tools: which calls may be repeated, and which arguments HTTP headers must mirror. Pure.

Filled from the server's own tools/list (2026-07-28 server/tools.mdx; x-mcp-header: basic/transports/streamable-http.mdx).
"""

from __future__ import annotations

from typing import Any

import msgspec

from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message

FRESH_AT_LEAST, FRESH_AT_MOST = 5.0, 300.0
"""The bounds, in seconds, of the time for which a list is fresh; between them the server's ttlMs decides."""

PAGES_MOST = 100
"""The most pages of tools that are asked for: a server may always name a next one."""

DEEPEST = 32
"""The greatest depth of a schema at which annotations are read."""


class Tool(msgspec.Struct, frozen=True):
    """One tool."""

    repeatable: bool
    """Whether the server says that calling the tool twice does no harm."""
    headers: tuple[tuple[str, tuple[str, ...]], ...]
    """Pairs of an Mcp-Param header's name, in lower case, and the path of the argument that it mirrors."""


class _Annotations(msgspec.Struct):
    read_only: bool = msgspec.field(default=False, name="readOnlyHint")
    idempotent: bool = msgspec.field(default=False, name="idempotentHint")


class _Tool(msgspec.Struct):
    name: str
    annotations: _Annotations | None = None
    schema: dict[str, Any] = msgspec.field(default_factory=dict, name="inputSchema")


class _List(msgspec.Struct):
    tools: list[_Tool]
    cursor: str | None = msgspec.field(default=None, name="nextCursor")
    ttl_ms: float = msgspec.field(default=60_000, name="ttlMs")


class _Answer(msgspec.Struct):
    result: _List


class _Arguments(msgspec.Struct):
    arguments: dict[str, Any] = {}


class Catalog:
    """The tools of one server, in the pages that have arrived."""

    def __init__(self) -> None:
        self.tools: dict[str, Tool] = {}
        """The tools by name."""
        self.fresh_until = float("-inf")
        """When the list has to be asked for again, by the clock of `page`."""
        self._pages = 0

    def page(self, answer: bytes, now: float) -> str | None:
        """Take in one tools/list response. Returns the cursor of the next page, empty after the last; None if it is no list."""
        try:
            result = jsonrpc.decode(answer, _Answer).result
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        self._pages += 1
        for tool in result.tools:
            hints = tool.annotations or _Annotations()
            headers = tuple(_headers(tool.schema, ()))
            self.tools[tool.name] = Tool(hints.read_only or hints.idempotent, headers)
        self.fresh_until = now + min(max(result.ttl_ms / 1000, FRESH_AT_LEAST), FRESH_AT_MOST)
        return (result.cursor or "") if self._pages < PAGES_MOST else ""

    def repeatable(self, name: str) -> bool:
        """Whether the server says that calling this tool twice does no harm."""
        tool = self.tools.get(name)
        return tool is not None and tool.repeatable

    def mismatch(self, name: str, message: Message, params: tuple[tuple[str, str], ...]) -> str:
        """Why the Mcp-Param-* headers `params` of a call of the tool `name` do not mirror its arguments; empty if they do."""
        tool = self.tools.get(name)
        if tool is None or not tool.headers:
            return ""
        try:
            call = jsonrpc.decode(message.params, _Arguments)
        except msgspec.DecodeError:
            return ""  # the server judges the arguments
        given = dict(params)
        for header, path in tool.headers:
            value = _at(call.arguments, path)
            if value is None:
                if header in given:
                    return f"Mcp-Param-{header} is sent, but the argument {'.'.join(path)} is absent"
            elif header not in given:
                return f"Mcp-Param-{header} is missing; it mirrors the argument {'.'.join(path)}"
            elif not _same(given[header], value):
                return f"Mcp-Param-{header} does not match the argument {'.'.join(path)}"
        return ""

    def mirrored(self, name: str, message: Message) -> list[tuple[str, str]]:
        """The names and values of the Mcp-Param headers that a call of the tool `name` has to have."""
        tool = self.tools.get(name)
        if tool is None or not tool.headers:
            return []
        try:
            call = jsonrpc.decode(message.params, _Arguments)
        except msgspec.DecodeError:
            return []
        values = [(header, _at(call.arguments, path)) for header, path in tool.headers]
        return [(header, _header_value(value)) for header, value in values if isinstance(value, (str, int, float))]


def _headers(schema: dict[str, Any], path: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    """The headers of a schema: of its annotated properties, and of those nested in `properties`."""
    headers: list[tuple[str, tuple[str, ...]]] = []
    properties = schema.get("properties")
    for name, part in properties.items() if isinstance(properties, dict) and len(path) < DEEPEST else ():
        if isinstance(part, dict):
            if isinstance(part.get("x-mcp-header"), str):
                headers.append((part["x-mcp-header"].lower(), (*path, name)))
            headers += _headers(part, (*path, name))
    return headers


def _at(arguments: dict[str, Any], path: tuple[str, ...]) -> Any:
    """The argument at this path, None if there is none."""
    value: Any = arguments
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _header_value(value: str | float) -> str:
    """The header value that mirrors an argument."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def _same(header: str, value: Any) -> bool:
    if isinstance(value, bool):
        return header == ("true" if value else "false")
    if isinstance(value, (int, float)):
        try:
            return float(header) == float(value)
        except ValueError:
            return False
    return isinstance(value, str) and header == value

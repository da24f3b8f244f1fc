"""Finds a call for a person to try: of a harmless tool, with arguments from the examples in its schema. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from workers.screen.operands import is_plain, operands

_QUOTED = re.compile(r"(?i)\b(?:e\.g\.|for example|example:|such as)[,:]?\s*[`'\"]([^`'\"]+)[`'\"]")
"""An example in a description, where most schemas have theirs."""


class Example(msgspec.Struct, frozen=True):
    """A call of a tool of a server with these arguments."""

    server: str
    tool: str
    arguments: dict[str, Any]

    @property
    def words(self) -> str:
        """The call as `mcp-fabric call` takes it, quoted for a shell."""
        return operands([self.server, self.tool, *(_argument(key, value) for key, value in self.arguments.items())])


def example(tools: Mapping[str, Iterable[Mapping[str, Any]]]) -> Example | None:
    """An example with the best of these tools, which are listed by server; None if no tool's required arguments are known.

    A tool with `readOnlyHint` comes first, then one whose name needs no quotes, then one with fewer arguments. A tool with
    `destructiveHint` and without `readOnlyHint` is never taken.
    """
    ranked: list[tuple[bool, bool, int, Example]] = []
    for server, listed in tools.items():
        for tool in listed:
            hints = _object(tool.get("annotations"))
            reads, destroys = (hints.get(hint) is True for hint in ("readOnlyHint", "destructiveHint"))
            arguments = _filled(_object(tool.get("inputSchema")))
            name = tool.get("name")
            if isinstance(name, str) and arguments is not None and (reads or not destroys):
                ranked.append((not reads, not is_plain(server, name), len(arguments), Example(server, name, arguments)))
    return min(ranked, key=lambda each: each[:3])[3] if ranked else None


def _filled(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The required arguments; None if one of them has no example."""
    properties, required = _object(schema.get("properties")), schema.get("required")
    filled: dict[str, Any] = {}
    for name in required if isinstance(required, list) else ():
        values = _values(_object(properties.get(name)))
        if not values or not isinstance(name, str) or not name:
            return None
        filled[name] = values[0]
    return filled


def _values(schema: Mapping[str, Any]) -> list[Any]:
    """Values that the schema allows: first its examples, then a value of its type."""
    values = [schema[key] for key in ("example", "default", "const") if schema.get(key) is not None]
    for key in ("examples", "enum"):
        values += schema[key] if isinstance(schema.get(key), list) else ()
    match schema.get("type"):
        case "boolean":
            values.append(True)
        case "integer" | "number":
            values.append(schema.get("minimum", 1))
        case "string" if isinstance(text := schema.get("description"), str):
            values += _QUOTED.findall(text)
    return values


def _argument(key: str, value: Any) -> str:
    if isinstance(value, str) and not value.startswith("@"):
        return f"{key}={value}"
    text = msgspec.json.encode(value).decode()
    return f"{key}={text}" if isinstance(value, bool | int | float) else f"{key}:={text}"


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}

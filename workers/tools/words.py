"""Describes a tool, a resource or a prompt in lines for a terminal. Pure."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workers.screen.operands import operands
from workers.tools.shape import Shape, as_json, as_typed

INDENT = 2
GAP = 2
NARROWEST = 24
"""The fewest columns of a description."""
_HINTS = (("readOnlyHint", "only reads"), ("destructiveHint", "may destroy"), ("idempotentHint", "may be repeated"))


def tool_lines(tool: Mapping[str, Any], width: int, *, whole: bool = False) -> list[str]:
    """The name of a tool, its description and its arguments. whole: all of the description, not the first line alone."""
    description = _text(tool, "description") or _text(tool, "title")
    title = [*_head(_text(tool, "name"), description if whole else _first(description), width)]
    annotations = tool.get("annotations")
    hints = [words for hint, words in _HINTS if isinstance(annotations, dict) and annotations.get(hint) is True]
    if hints:
        title.append(f"{' ' * INDENT}({', '.join(hints)})")
    shape = Shape(tool.get("inputSchema") or {})
    rows = [
        (name, _takes(field, required=name in shape.required), field.description if whole else _first(field.description))
        for name, field in shape.properties.items()
    ]
    return title + _columns(rows, width)


def prompt_lines(prompt: Mapping[str, Any], width: int) -> list[str]:
    """The name of a prompt, its description and its arguments."""
    arguments = prompt.get("arguments")
    rows = [
        (_text(each, "name"), "required" if each.get("required") else "optional", _first(_text(each, "description")))
        for each in (arguments if isinstance(arguments, list) else ())
        if isinstance(each, dict)
    ]
    description = _text(prompt, "description") or _text(prompt, "title")
    return [*_head(_text(prompt, "name"), _first(description), width), *_columns(rows, width)]


def resource_lines(resource: Mapping[str, Any], width: int) -> list[str]:
    """The URI of a resource or its template, with name, type and size."""
    facts = [_text(resource, "title") or _text(resource, "name"), _text(resource, "mimeType")]
    if isinstance(size := resource.get("size"), int):
        facts.append(f"{size} bytes")
    where = _text(resource, "uri") or _text(resource, "uriTemplate")
    rows = [(_first(_text(resource, "description")),)] if resource.get("description") else []
    return [*_head(where, ", ".join(filter(None, facts)), width), *_columns(rows, width)]


def usage(server: str, tool: Mapping[str, Any]) -> str:
    """The command that calls a tool, with its required arguments."""
    shape = Shape(tool.get("inputSchema") or {})
    words = [f"{shlex.quote(name)}={_placeholder(shape.properties.get(name, Shape({})))}" for name in shape.required]
    more = ["[KEY=VALUE]..."] if len(shape.properties) > len(words) or shape.others is not None else []
    return " ".join(["mcp-fabric call", operands([server, _text(tool, "name")]), *words, *more])


def described(field: Shape) -> str:
    """A field in words: its type, or its choices."""
    of = field.items if field.types == {"array"} else field
    if (choices := of.choices) is None:
        return field.words() or "anything"
    named = [f"{as_typed(choice)} ({name})" if (name := of.name_of(choice)) else as_typed(choice) for choice in choices]
    return f"{'some' if of is not field else 'one'} of {', '.join(named)}"


def _placeholder(field: Shape) -> str:
    return {"string": "TEXT", "integer": "INTEGER", "number": "NUMBER", "boolean": "true"}.get("".join(field.types), "VALUE")


def _takes(field: Shape, *, required: bool) -> str:
    words = f"{described(field)}, {'required' if required else 'optional'}"
    return f"{words}, {as_json(field.default)} if not given" if field.has_default and field.default is not None else words


def _head(name: str, text: str, width: int) -> Iterable[str]:
    if not text:
        return [name]
    return [name, *textwrap.wrap(text, width, initial_indent=" " * INDENT, subsequent_indent=" " * INDENT)]


def _columns(rows: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """Rows whose last column is wrapped; those before it are as wide as their widest cell."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    left = 2 * INDENT + sum(each + GAP for each in widths)
    if width - left < NARROWEST:
        left = 4 * INDENT
    lines = []
    for *cells, last in rows:
        start = " " * (2 * INDENT) + "".join(f"{cell:{size + GAP}}" for cell, size in zip(cells, widths, strict=True))
        if len(start) > left or not last:
            lines.append(start.rstrip())
            start = " " * left
        lines += textwrap.wrap(last, width, initial_indent=start, subsequent_indent=" " * left)
    return lines


def _first(text: str) -> str:
    """The first paragraph of a text, as one line."""
    return " ".join(text.strip().partition("\n\n")[0].split())


def _text(of: Mapping[str, Any], key: str) -> str:
    value = of.get(key)
    return value if isinstance(value, str) else ""

"""Prints the result of a tool: text as it is, a line about each block of another kind, the whole result with --json."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from workers.screen.terminal import harmless


def show(result: Mapping[str, Any], *, json: bool) -> int:
    """Print a result, and return its exit code. The result of a tool that failed goes to stderr."""
    failed = bool(result.get("isError"))
    if json:
        print(_json(result))
        return int(failed)
    out = sys.stderr if failed else sys.stdout
    content = result.get("content")
    lines = [_block(block) for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    if not lines and "structuredContent" in result:
        lines = [_json(result["structuredContent"])]
    for line in lines:
        print(harmless(line) if out.isatty() else line, file=out, flush=True)
    return int(failed)


def _block(block: Mapping[str, Any]) -> str:
    match block:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "image" | "audio" as kind, "data": str(data)}:
            return _summary(kind, block, data)
        case {"type": "resource_link", "uri": str(uri)}:
            return "  ".join(filter(None, [uri, _of(block, "title") or _of(block, "name"), _of(block, "description")]))
        case {"type": "resource", "resource": {"text": str(text)}}:
            return text
        case {"type": "resource", "resource": {"blob": str(data)} as resource}:
            return _summary(f"resource {_of(resource, 'uri')}", resource, data)
        case _:
            return _json(block)


def _summary(name: str, block: Mapping[str, Any], data: str) -> str:
    """A line about data that is not printed. data: in Base64."""
    size = len(data) * 3 // 4 - data[-2:].count("=")
    return f"[{name}, {_of(block, 'mimeType') or 'of an unknown type'}, {size} bytes; --json prints it]"


def _of(block: Mapping[str, Any], key: str) -> str:
    value = block.get(key)
    return value if isinstance(value, str) else ""


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()

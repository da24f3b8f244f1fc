"""`mcp-fabric tools`, `resources` and `prompts`: lists the items of one kind that a server has, from all pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fabric.config.settings.process import Settings
from workers.asking.join import unless_stopped
from workers.asking.visit import unless_refused, visit
from workers.process.logs import configure_logging
from workers.screen.operands import operands
from workers.screen.terminal import complain, harmless, say
from workers.tools.example import example
from workers.tools.words import prompt_lines, resource_lines, tool_lines

PIPE_WIDTH = 160
"""Columns of output that goes to no terminal."""

Words = Callable[[Mapping[str, Any], int], list[str]]

_KINDS: Mapping[str, Mapping[str, tuple[str, Words]]] = {
    "tools": {"tools": ("tools/list", tool_lines)},
    "prompts": {"prompts": ("prompts/list", prompt_lines)},
    "resources": {
        "resources": ("resources/list", resource_lines),
        "resourceTemplates": ("resources/templates/list", resource_lines),
    },
}
"""The lists of each command: by the key of a page, the method that lists its items, and the function that describes one."""


async def run(settings: Settings, kind: str, server: str, *, reach: str, json: bool) -> int:
    """List, and print. reach: the options with which a printed command reaches this fabric. Returns the exit code."""
    configure_logging(settings, "warning")
    return await unless_stopped(unless_refused(_run(settings, kind, server, reach=reach, json=json)))


async def _run(settings: Settings, kind: str, server: str, *, reach: str, json: bool) -> int:
    async with visit(settings, server) as client:
        items = {key: await client.all(method, key) for key, (method, _) in _KINDS[kind].items()}
    if json:
        print(msgspec.json.format(msgspec.json.encode(items)).decode())
        return 0
    width = shutil.get_terminal_size((PIPE_WIDTH, 0)).columns
    if not any(items.values()):
        complain(f"{server} has no {kind}")
        return 0
    blocks = ["\n".join(_KINDS[kind][key][1](each, width)) for key, listed in items.items() for each in listed]
    print(harmless("\n\n".join(blocks)), flush=True)
    if kind == "tools":
        call = example({server: items["tools"]})
        words = call.words if call else operands([server, f"{items['tools'][0].get('name')}"], "--help")
        say([(f"try: mcp-fabric call {reach}{words}", "cyan")])
    return 0

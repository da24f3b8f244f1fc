"""`mcp-fabric call`: calls a tool with arguments read by its schema, or prints that schema in words."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from fabric.config.settings.process import Settings
from fabric.mcp import jsonrpc
from workers.answering.answers import AnsweringHost, GivenAnswers
from workers.answering.host import Unanswered
from workers.answering.person import Person
from workers.answering.progress import ServerProgress
from workers.asking.client import Client, Refused
from workers.asking.join import unless_stopped
from workers.asking.visit import unless_refused, visit
from workers.process.logs import configure_logging
from workers.screen.operands import operands
from workers.screen.terminal import complain, harmless
from workers.tools.arguments import WrittenArgument, arguments
from workers.tools.result import show
from workers.tools.shape import Shape, among
from workers.tools.words import tool_lines, usage

HELP_WIDTH = 80
"""Columns of help that goes to no terminal."""

Tool = dict[str, Any]


async def run(
    settings: Settings,
    server: str,
    tool: str,
    words: Sequence[WrittenArgument],
    json_arguments: dict[str, Any],
    given: GivenAnswers,
    *,
    reach: str,
    explain: bool,
    json: bool,
) -> int:
    """Call a tool and print its result. Returns the exit code.

    words, json_arguments: its arguments, as KEY=VALUE and as JSON. given: answers to requests of its server. explain: print
    how the tool is called instead. reach: the options with which a printed command reaches this fabric.
    """
    configure_logging(settings, "warning")
    if explain:
        return await unless_stopped(unless_refused(_explain(settings, server, tool)))
    work = _call(settings, server, tool, words, json_arguments, given, reach=reach, json=json)
    return await unless_stopped(unless_refused(work))


async def _explain(settings: Settings, server: str, name: str) -> int:
    async with visit(settings, server) as client:
        tools = await client.tools()
    if (tool := _named(tools, name)) is None:
        complain(_unknown(server, name, tools))
        return 1
    width = shutil.get_terminal_size((HELP_WIDTH, 0)).columns
    print(harmless(f"Usage: {usage(server, tool)}\n"))
    print(harmless("\n".join(tool_lines(tool, width, whole=True))))
    return 0


async def _call(
    settings: Settings,
    server: str,
    name: str,
    words: Sequence[WrittenArgument],
    json_arguments: dict[str, Any],
    given: GivenAnswers,
    *,
    reach: str,
    json: bool,
) -> int:
    tools: list[Tool] = []
    tool: Tool | None = None
    code = 1
    with ServerProgress() as progress:
        answers = AnsweringHost(server, progress, Person() if Person.present() else None, given)
        try:
            async with visit(settings, server, answers) as client:
                tools = await _tools(client)
                tool = _named(tools, name)
                read = arguments(words, json_arguments, Shape((tool or {}).get("inputSchema") or {}))
                for line in (*read.doubts, *read.problems):
                    complain(line)
                if read.problems:
                    complain(f"more: mcp-fabric call {reach}{operands([server, name], '--help')}")
                    return 2
                result = await client.call(name, read.values)
                code = show(result, json=json)
        except Unanswered:
            pass  # the reason is printed below
        except Refused as refused:
            _note(refused, answers)
            if tools and tool is None:
                complain(_unknown(server, name, tools))
            raise
        finally:
            progress.pause()
            for reason in answers.unanswered:
                complain(reason)
    if code and tools and tool is None:
        complain(_unknown(server, name, tools))
    return code


async def _tools(client: Client) -> list[Tool]:
    """The tools of the server; none if it cannot list them, for it may still be called."""
    try:
        return await client.tools()
    except Refused as refused:
        if refused.reason:
            raise
        return []


def _note(refused: Refused, answers: AnsweringHost) -> None:
    """Note the capabilities that the server misses in its client, if its error names them."""
    missing = refused.data.get("requiredCapabilities") if isinstance(refused.data, dict) else None
    if refused.code == jsonrpc.MISSING_CAPABILITY and isinstance(missing, dict):
        for capability in missing:
            answers.lacks(capability)


def _named(tools: Sequence[Tool], name: str) -> Tool | None:
    return next((tool for tool in tools if tool.get("name") == name), None)


def _unknown(server: str, name: str, tools: Sequence[Tool]) -> str:
    known = [tool["name"] for tool in tools if isinstance(tool.get("name"), str)]
    return f"{server} lists no tool {name!r}{among(name, known)}"

"""The commands of `mcp-fabric`: their arguments, help and examples. The code of a command is imported when it is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

_EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 nobody answers, 130 interrupted (Ctrl-C), 143 ended by "
    "SIGTERM before it was done. 0 also where SIGTERM stops up, edge, bridge or connect, and where the reader of stdout has "
    "closed it, as `| head -1` does."
)

MODULES = {
    **dict.fromkeys(("up", "edge", "bridge", "connect"), "workers.commands.serving"),
    **dict.fromkeys(("ls", "tools", "resources", "prompts", "call", "restart"), "workers.commands.asking"),
    **dict.fromkeys(("doctor", "transports", "config"), "workers.commands.checking"),
}
"""The module of each command, in the order of the help."""


class _Commands(Mapping[str, Any]):
    """The commands by name, each made at its first use: typer takes longer to make them all than to run one."""

    def __getitem__(self, name: str) -> Any:
        return _group(MODULES[name]).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)


@cache
def _group(module: str) -> TyperGroup:
    return typer.main.get_group(import_module(module).app)


class _Root(TyperGroup):
    """`mcp-fabric` itself."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": _Commands()})


app = typer.Typer(
    name="mcp-fabric",
    cls=_Root,
    help="Serve MCP servers to many clients, on one machine or on many, through NATS, Redis Streams or RabbitMQ.",
    epilog=f"Start with: mcp-fabric up mcp.json\n\n{_EXIT_CODES}",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich's takes longer to import than all the rest
    pretty_exceptions_enable=False,  # it would print local variables, secrets among them
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        from importlib.metadata import version as version_of

        typer.echo(version_of("mcp-transport-fabric"))
        raise typer.Exit

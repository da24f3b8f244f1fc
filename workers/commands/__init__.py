"""The commands of `mcp-fabric`: their arguments, help and examples. What they do is imported when they are called."""

from __future__ import annotations

from typing import Annotated

import typer

from workers.commands import asking, checking, serving

_EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 nobody answers, 130 interrupted (Ctrl-C), 143 ended by "
    "SIGTERM before it was done. SIGTERM is how up, edge, bridge and connect are stopped: 0."
)

app = typer.Typer(
    name="mcp-fabric",
    help="Serve MCP servers to many clients, on one machine or on many, through NATS, Redis Streams or RabbitMQ.",
    epilog=f"Start with: mcp-fabric up mcp.json\n\n{_EXIT_CODES}",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich's takes longer to import than all the rest
    pretty_exceptions_enable=False,  # it would print local variables, secrets among them
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        from importlib.metadata import version as version_of

        typer.echo(version_of("mcp-transport-fabric"))
        raise typer.Exit


for group in (serving.app, asking.app, checking.app):
    app.add_typer(group)

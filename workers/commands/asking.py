"""The commands that ask a fabric that runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from workers.commands.options import (
    Broker,
    ConfigOption,
    Fabric,
    Json,
)
from workers.commands.running import given_options, run, settings_of

app = typer.Typer()


@app.command(epilog="mcp-fabric ls\n\nmcp-fabric ls --json")
def ls(config: ConfigOption = None, broker: Broker = None, fabric: Fabric = None, json: Json = False) -> None:
    """List servers, workers, sessions and their health."""
    run("ls", settings_of(config, given_options(broker, fabric)), json=json)


@app.command(epilog="mcp-fabric restart time\n\nmcp-fabric restart time --broker nats://127.0.0.1:4222")
def restart(
    name: Annotated[str, typer.Argument(help="The server.")],
    config: ConfigOption = None,
    broker: Broker = None,
    fabric: Fabric = None,
    json: Json = False,
) -> None:
    """Give a server new processes, at every bridge. No call is dropped.

    New calls go to new processes once those answer; if they do not, the old ones go on. Calls that run end in their old
    process, or, where they may be repeated and last, begin again in a new one. A session keeps its process until it ends.
    Where maxProcesses leaves no room for one more, the old process ends first, and new calls wait.
    """
    run("restart", settings_of(config, given_options(broker, fabric)), name, json=json)


@app.command(
    epilog="mcp-fabric call time get_current_time timezone=Europe/Paris\n\n"
    'mcp-fabric call everything get-sum --json-args \'{"a": 1, "b": 2}\' --json'
)
def call(
    name: Annotated[str, typer.Argument(help="The server.")],
    tool: Annotated[str, typer.Argument(help="The tool.")],
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Arguments; a value that is JSON is taken as such.", show_default=False),
    ] = None,
    json_args: Annotated[
        str | None, typer.Option("--json-args", metavar="OBJECT", help="Arguments as a JSON object; KEY=VALUE goes on top.")
    ] = None,
    config: ConfigOption = None,
    broker: Broker = None,
    fabric: Fabric = None,
    json: Json = False,
) -> None:
    """Call a tool and print its result."""
    arguments = _tool_arguments(values or [], json_args)
    run("call", settings_of(config, given_options(broker, fabric)), name, tool, arguments, json=json)


def _tool_arguments(values: list[str], json_args: str | None) -> dict[str, Any]:
    """The arguments of a tool call. Raises BadParameter, which ends with exit code 2."""
    import msgspec

    arguments: dict[str, Any] = {}
    if json_args is not None:
        try:
            arguments = msgspec.json.decode(json_args, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise typer.BadParameter(f"not a JSON object: {error}", param_hint="--json-args") from None
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{value!r} is not KEY=VALUE", param_hint="KEY=VALUE")
        try:
            arguments[key] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            arguments[key] = text
    return arguments

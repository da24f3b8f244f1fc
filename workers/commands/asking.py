"""The commands that ask a running fabric."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.commands.completing import servers, tools_of_a_server
from workers.commands.options import Broker, ConfigOption, Fabric, Json
from workers.commands.running import given_options, run, settings_of

if TYPE_CHECKING:
    from workers.answering.answers import GivenAnswers
    from workers.tools.arguments import WrittenArgument

app = typer.Typer(rich_markup_mode=None)

ServerName = Annotated[str, typer.Argument(metavar="NAME", help="The server.", autocompletion=servers, show_default=False)]


@app.command(epilog="mcp-fabric ls\n\nmcp-fabric ls --json")
def ls(config: ConfigOption = None, broker: Broker = None, fabric: Fabric = None, json: Json = False) -> None:
    """List servers, workers, sessions and their health."""
    run("asking.ls", settings_of(config, given_options(broker, fabric)), json=json)


@app.command(epilog="mcp-fabric tools time\n\nmcp-fabric tools time --json")
def tools(
    name: ServerName, config: ConfigOption = None, broker: Broker = None, fabric: Fabric = None, json: Json = False
) -> None:
    """List the tools of a server, with their arguments."""
    run(
        "asking.listing",
        settings_of(config, given_options(broker, fabric)),
        "tools",
        name,
        reach=_reach(config, broker, fabric),
        json=json,
    )


@app.command(epilog="mcp-fabric resources conformance")
def resources(
    name: ServerName, config: ConfigOption = None, broker: Broker = None, fabric: Fabric = None, json: Json = False
) -> None:
    """List the resources of a server, and their templates."""
    run(
        "asking.listing",
        settings_of(config, given_options(broker, fabric)),
        "resources",
        name,
        reach=_reach(config, broker, fabric),
        json=json,
    )


@app.command(epilog="mcp-fabric prompts conformance")
def prompts(
    name: ServerName, config: ConfigOption = None, broker: Broker = None, fabric: Fabric = None, json: Json = False
) -> None:
    """List the prompts of a server, with their arguments."""
    run(
        "asking.listing",
        settings_of(config, given_options(broker, fabric)),
        "prompts",
        name,
        reach=_reach(config, broker, fabric),
        json=json,
    )


@app.command(
    add_help_option=False,
    epilog="mcp-fabric call time\n\nmcp-fabric call time get_current_time --help\n\n"
    "mcp-fabric call time get_current_time timezone=Europe/Paris\n\n"
    "mcp-fabric call everything get-sum a=1 b:=2 --json\n\n"
    "mcp-fabric call conformance test_elicitation message=Who? --answer username=ada --answer email=ada@example.org",
)
def call(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The server.", autocompletion=servers, show_default=False)
    ] = None,
    tool: Annotated[
        str | None,
        typer.Argument(
            metavar="TOOL", help="The tool. Without one, list all.", autocompletion=tools_of_a_server, show_default=False
        ),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Arguments, read by the tool's schema. KEY=@FILE reads a file, KEY:=JSON is JSON, repeated KEYs an array.",
            show_default=False,
        ),
    ] = None,
    json_args: Annotated[
        str | None, typer.Option("--json-args", metavar="OBJECT", help="Arguments as a JSON object; KEY=VALUE overrides them.")
    ] = None,
    answer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="A field of the form that the server wants filled in; or accept, decline or cancel.",
            show_default=False,
        ),
    ] = None,
    sampling: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The answer when the server asks a model.", show_default=False)
    ] = None,
    root: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A folder that the server may look into.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    broker: Broker = None,
    fabric: Fabric = None,
    json: Json = False,
    help: Annotated[bool, typer.Option("--help", "-h", help="Show this message; with TOOL, show its arguments.")] = False,
) -> None:
    """Call a tool and print its result. In a terminal, you are asked the server's questions."""
    if name is None or (help and tool is None):
        if not help:
            raise typer.BadParameter("name the server; mcp-fabric ls lists them", param_hint="NAME")
        typer.echo(context.get_help())
        return
    settings = settings_of(config, given_options(broker, fabric))
    reach = _reach(config, broker, fabric)
    if tool is None:
        run("asking.listing", settings, "tools", name, reach=reach, json=json)
        return
    words = _written(values or [], "KEY=VALUE")
    arguments = _object(json_args, "--json-args")
    answers = _given(root, answer, sampling)
    run("asking.call", settings, name, tool, words, arguments, answers, reach=reach, explain=help, json=json)


@app.command(epilog="mcp-fabric restart time\n\nmcp-fabric restart time --broker nats://127.0.0.1:4222")
def restart(
    name: ServerName, config: ConfigOption = None, broker: Broker = None, fabric: Fabric = None, json: Json = False
) -> None:
    """Give a server new processes, at every bridge. No call is dropped.

    New calls go to new processes once those answer; if they do not, the old ones go on. A call that runs ends in its old
    process, or, if it takes long and may be repeated, begins again in a new one. A session keeps its process until it ends.
    Where maxProcesses leaves no room for one more, the old process ends first, and new calls wait.
    """
    run("asking.restart", settings_of(config, given_options(broker, fabric)), name, json=json)


def _reach(config: str | None, broker: str | None, fabric: str | None) -> str:
    """The options with which a printed command reaches this fabric, followed by a blank; empty if none were given."""
    from fabric.brokers.registry import masked

    options = {"--config": config, "--broker": broker and masked(broker), "--fabric": fabric}
    return "".join(f"{option} {shlex.quote(value)} " for option, value in options.items() if value)


def _given(root: list[Path] | None, answer: list[str] | None, sampling: str | None) -> GivenAnswers:
    from workers.answering.answers import GivenAnswers
    from workers.answering.forms import ACTIONS

    actions = [each for each in answer or () if each in ACTIONS.values()]
    fields = _written([each for each in answer or () if each not in actions], "--answer")
    return GivenAnswers(roots=root or (), fields=fields, action=actions[-1] if actions else "", text=sampling)


def _written(words: list[str], where: str) -> list[WrittenArgument]:
    """The arguments in these words. Raises BadParameter, which ends with exit code 2."""
    from workers.tools.arguments import written
    from workers.tools.shape import Unfit

    try:
        return [written(word) for word in words]
    except Unfit as unfit:
        raise typer.BadParameter(str(unfit), param_hint=where) from None


def _object(text: str | None, where: str) -> dict[str, Any]:
    import msgspec

    try:
        value: dict[str, Any] = msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise typer.BadParameter(f"not a JSON object: {error}", param_hint=where) from None
    return value

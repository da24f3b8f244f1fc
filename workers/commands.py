"""The commands of `mcp-fabric`: their arguments, help and examples. What they do is imported when they are called."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fabric.runtime.settings import Settings  # pydantic and all; --help shall not wait for it

_EXIT_CODES = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 nobody answers."

app = typer.Typer(
    name="mcp-fabric",
    help="Serve MCP servers to many clients, on one machine or on many, through NATS, Redis Streams or RabbitMQ.",
    epilog=f"Start with: mcp-fabric up mcp.json\n\n{_EXIT_CODES}",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich's takes longer to import than all the rest
    pretty_exceptions_enable=False,  # it would print local variables, secrets among them
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(help="Check a config file, or print its JSON Schema.", no_args_is_help=True)
app.add_typer(config_app, name="config")

ConfigArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CONFIG",
        help="An mcpServers file, or one server's URI. Without: CONFIG_FILE, else PROGRAM and ARGS.",
        show_default=False,
    ),
]
ConfigOption = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="A file whose `fabric` keys to use.", show_default=False)
]
Http = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Where HTTP listens; port 0 picks one. (default: 127.0.0.1:8080)")
]
Tcp = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HOST:PORT[=SERVER]",
        help="Also serve SERVER, or the default one, over TCP, a message a line.",
        show_default=False,
    ),
]
Unix = Annotated[
    list[str] | None,
    typer.Option(metavar="PATH[=SERVER]", help="Also serve SERVER, or the default one, on a Unix socket.", show_default=False),
]
Ws = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HOST:PORT[=SERVER]", help="Also serve WebSockets on a port of their own: SERVER at /, or each at /NAME/ws."
    ),
]
Admin = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where /livez and /readyz answer. (default: nowhere)")]
Broker = Annotated[
    str | None, typer.Option(metavar="URL", help="nats, tls, redis(s) or amqp(s)://HOST. (default: an embedded NATS server)")
]
Fabric = Annotated[str | None, typer.Option("--fabric", metavar="NAME", help="The fabric's name. (default: default)")]
Unauthenticated = Annotated[
    bool, typer.Option("--allow-unauthenticated", help="Listen beyond loopback although nobody is asked who they are.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        from importlib.metadata import version as version_of

        typer.echo(version_of("mcp-transport-fabric"))
        raise typer.Exit


@app.command(
    epilog="mcp-fabric up mcp.json\n\nmcp-fabric up mcp.json --http 127.0.0.1:0 --admin 127.0.0.1:9090\n\n"
    "mcp-fabric up mcp.json --tcp 127.0.0.1:7000=time --unix time.sock=time\n\n"
    "PROGRAM=npx ARGS=-y,@modelcontextprotocol/server-everything mcp-fabric up"
)
def up(
    config: ConfigArgument = None,
    http: Http = None,
    tcp: Tcp = None,
    unix: Unix = None,
    ws: Ws = None,
    admin: Admin = None,
    broker: Broker = None,
    fabric: Fabric = None,
    allow_unauthenticated: Unauthenticated = False,
) -> None:
    """Run it all here: broker, servers, and for clients HTTP and what else is asked for."""
    doors = {"tcp": tcp or None, "unix": unix or None, "ws": ws or None}
    given = _given(broker, fabric, http=http, admin=admin, allowUnauthenticated=allow_unauthenticated or None, **doors)
    _refuse_missing_extras()
    _run("up", _servable(_settings(config, given, needs_servers=True, listens=("http", "admin", "doors"))))


@app.command(epilog="mcp-fabric edge mcp.json --broker nats://127.0.0.1:4222 --http 127.0.0.1:8080")
def edge(
    config: ConfigArgument = None,
    http: Http = None,
    tcp: Tcp = None,
    unix: Unix = None,
    ws: Ws = None,
    admin: Admin = None,
    broker: Broker = None,
    fabric: Fabric = None,
    allow_unauthenticated: Unauthenticated = False,
) -> None:
    """Serve clients over HTTP and what else is asked for. The servers are at bridges that reach the same broker."""
    doors = {"tcp": tcp or None, "unix": unix or None, "ws": ws or None}
    given = _given(broker, fabric, http=http, admin=admin, allowUnauthenticated=allow_unauthenticated or None, **doors)
    _refuse_missing_extras()
    _run("edge", _settings(config, given, listens=("http", "admin", "doors")))


@app.command(epilog="mcp-fabric bridge mcp.json --broker nats://127.0.0.1:4222")
def bridge(
    config: ConfigArgument = None,
    admin: Admin = None,
    broker: Broker = None,
    fabric: Fabric = None,
    allow_unauthenticated: Unauthenticated = False,
) -> None:
    """Run the servers of a config. Any number of bridges, anywhere, take work from one broker."""
    given = _given(broker, fabric, admin=admin, allowUnauthenticated=allow_unauthenticated or None)
    _refuse_missing_extras()
    _run("bridge", _servable(_settings(config, given, needs_servers=True, listens=("admin",))))


@app.command(epilog="mcp-fabric connect time\n\nmcp-fabric connect time --broker nats://127.0.0.1:4222")
def connect(
    name: Annotated[str | None, typer.Argument(help="The server. (default: the default server)", show_default=False)] = None,
    config: ConfigOption = None,
    broker: Broker = None,
    fabric: Fabric = None,
) -> None:
    """Be a server of the fabric on stdin and stdout. The command to put into a host's config."""
    _run("connect", _settings(config, _given(broker, fabric)), name)


@app.command(epilog="mcp-fabric ls\n\nmcp-fabric ls --json")
def ls(config: ConfigOption = None, broker: Broker = None, fabric: Fabric = None, json: Json = False) -> None:
    """List servers, workers, sessions and their health."""
    _run("ls", _settings(config, _given(broker, fabric)), json=json)


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
    _run("call", _settings(config, _given(broker, fabric)), name, tool, arguments, json=json)


@app.command(epilog="mcp-fabric doctor mcp.json\n\nmcp-fabric doctor mcp.json --broker redis://127.0.0.1 --json")
def doctor(
    config: ConfigArgument = None, http: Http = None, broker: Broker = None, fabric: Fabric = None, json: Json = False
) -> None:
    """Find what is wrong, and say what to do. One remedy a line."""
    _run("doctor", _settings(config, _given(broker, fabric, http=http)), json=json)


@app.command(epilog="mcp-fabric transports\n\nmcp-fabric transports --json")
def transports(json: Json = False) -> None:
    """List the transports, by the scheme of their URLs, and what each can do."""
    from workers.transports import show

    show(json=json)


@config_app.command("check", epilog="mcp-fabric config check mcp.json")
def config_check(config: ConfigArgument = None) -> None:
    """Refuse a wrong setting, naming file, key and reason. Starts nothing."""
    from workers.check import check

    settings = check(config, os.environ)
    typer.echo(f"{settings.source}: fabric {settings.name}, {len(settings.servers)} servers: {', '.join(settings.servers)}")


@config_app.command("schema", epilog="mcp-fabric config schema > config.schema.json")
def config_schema() -> None:
    """Print the JSON Schema of the config file."""
    from fabric.runtime.schema import json_schema_text

    typer.echo(json_schema_text(), nl=False)


def _given(broker: str | None, fabric: str | None, **others: object) -> dict[str, object]:
    """What the command line gave, by the keys of the file's `fabric` section."""
    return {"broker": broker, "name": fabric, **others}


def _settings(
    config: str | None, given: dict[str, object], *, needs_servers: bool = False, listens: tuple[str, ...] = ()
) -> Settings:
    from fabric.runtime.config import load

    return load(config, environment=os.environ, arguments=given, needs_servers=needs_servers, listens=listens)


def _servable(settings: Settings) -> Settings:
    from fabric.runtime.settings import refuse_missing_commands

    refuse_missing_commands(settings)
    return settings


def _refuse_missing_extras() -> None:
    from workers.extras import refuse_missing_extras

    refuse_missing_extras(os.environ)


def _run(command: str, settings: Settings, *arguments: object, **options: object) -> None:
    """Await workers.<command>.run(settings, ...); what it returns is the exit code."""
    import uvloop

    run: Callable[..., Coroutine[Any, Any, int]] = import_module(f"workers.{command}").run
    raise typer.Exit(uvloop.run(run(settings, *arguments, **options)))


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

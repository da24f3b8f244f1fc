"""The commands that serve until they are stopped."""

from __future__ import annotations

from typing import Annotated

import typer

from workers.commands.completing import servers
from workers.commands.options import (
    Admin,
    Broker,
    ConfigArgument,
    ConfigOption,
    Fabric,
    Http,
    LogFormat,
    LogLevel,
    Quiet,
    Unauthenticated,
    with_listeners,
)
from workers.commands.running import given_options, log_options, refuse_missing_extras, run, servable, settings_of

app = typer.Typer(rich_markup_mode=None)


@app.command(
    epilog="mcp-fabric up mcp.json\n\nmcp-fabric up mcp.json --http 127.0.0.1:0 --admin 127.0.0.1:9090\n\n"
    "mcp-fabric up mcp.json --tcp 127.0.0.1:7000=time --unix time.sock=time\n\n"
    "PROGRAM=npx ARGS=-y,@modelcontextprotocol/server-everything mcp-fabric up"
)
@with_listeners
def up(
    config: ConfigArgument = None,
    http: Http = None,
    *,
    listeners: dict[str, object],
    admin: Admin = None,
    broker: Broker = None,
    fabric: Fabric = None,
    allow_unauthenticated: Unauthenticated = False,
    log_level: LogLevel = None,
    quiet: Quiet = False,
    log_format: LogFormat = None,
) -> None:
    """Run everything here: the broker, the servers, and the listeners for clients."""
    others = {**listeners, **log_options(log_level, log_format, quiet=quiet)}
    given = given_options(broker, fabric, http=http, admin=admin, allowUnauthenticated=allow_unauthenticated or None, **others)
    refuse_missing_extras()
    run("serving.up", servable(settings_of(config, given, needs_servers=True, listens=("http", "admin", "others"))))


@app.command(epilog="mcp-fabric edge mcp.json --broker nats://127.0.0.1:4222 --http 127.0.0.1:8080")
@with_listeners
def edge(
    config: ConfigArgument = None,
    http: Http = None,
    *,
    listeners: dict[str, object],
    admin: Admin = None,
    broker: Broker = None,
    fabric: Fabric = None,
    allow_unauthenticated: Unauthenticated = False,
    log_level: LogLevel = None,
    quiet: Quiet = False,
    log_format: LogFormat = None,
) -> None:
    """Serve clients, over HTTP and any other listener. The servers run at bridges on the same broker."""
    others = {**listeners, **log_options(log_level, log_format, quiet=quiet)}
    given = given_options(broker, fabric, http=http, admin=admin, allowUnauthenticated=allow_unauthenticated or None, **others)
    refuse_missing_extras()
    run("serving.edge", settings_of(config, given, listens=("http", "admin", "others")))


@app.command(epilog="mcp-fabric bridge mcp.json --broker nats://127.0.0.1:4222")
def bridge(
    config: ConfigArgument = None,
    admin: Admin = None,
    broker: Broker = None,
    fabric: Fabric = None,
    allow_unauthenticated: Unauthenticated = False,
    log_level: LogLevel = None,
    quiet: Quiet = False,
    log_format: LogFormat = None,
) -> None:
    """Run the servers of a config. Any number of bridges, anywhere, take work from one broker."""
    logs = log_options(log_level, log_format, quiet=quiet)
    given = given_options(broker, fabric, admin=admin, allowUnauthenticated=allow_unauthenticated or None, **logs)
    refuse_missing_extras()
    run("serving.bridge", servable(settings_of(config, given, needs_servers=True, listens=("admin",))))


@app.command(epilog="mcp-fabric connect time\n\nmcp-fabric connect time --broker nats://127.0.0.1:4222")
def connect(
    name: Annotated[
        str | None,
        typer.Argument(help="The server. (default: the default server)", autocompletion=servers, show_default=False),
    ] = None,
    config: ConfigOption = None,
    broker: Broker = None,
    fabric: Fabric = None,
    log_level: LogLevel = None,
    quiet: Quiet = False,
    log_format: LogFormat = None,
) -> None:
    """Serve one server of the fabric on stdin and stdout. The command to put into a host's config.

    It ends once stdin has ended and all requests are answered: with 0, or with 1 and a line on stderr if a request was not
    answered in time (halfClosedTimeout, 30 s) or an answer could not be written.
    """
    given = given_options(broker, fabric, **log_options(log_level, log_format, quiet=quiet))
    run("serving.connect", settings_of(config, given), name)

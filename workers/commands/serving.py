"""The commands that serve until they are stopped."""

from __future__ import annotations

from typing import Annotated

import typer

from workers.commands.options import (
    Admin,
    Broker,
    ConfigArgument,
    ConfigOption,
    Fabric,
    Http,
    Tcp,
    Unauthenticated,
    Unix,
    Ws,
)
from workers.commands.running import given_options, refuse_missing_extras, run, servable, settings_of

app = typer.Typer()


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
    given = given_options(broker, fabric, http=http, admin=admin, allowUnauthenticated=allow_unauthenticated or None, **doors)
    refuse_missing_extras()
    run("up", servable(settings_of(config, given, needs_servers=True, listens=("http", "admin", "doors"))))


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
    given = given_options(broker, fabric, http=http, admin=admin, allowUnauthenticated=allow_unauthenticated or None, **doors)
    refuse_missing_extras()
    run("edge", settings_of(config, given, listens=("http", "admin", "doors")))


@app.command(epilog="mcp-fabric bridge mcp.json --broker nats://127.0.0.1:4222")
def bridge(
    config: ConfigArgument = None,
    admin: Admin = None,
    broker: Broker = None,
    fabric: Fabric = None,
    allow_unauthenticated: Unauthenticated = False,
) -> None:
    """Run the servers of a config. Any number of bridges, anywhere, take work from one broker."""
    given = given_options(broker, fabric, admin=admin, allowUnauthenticated=allow_unauthenticated or None)
    refuse_missing_extras()
    run("bridge", servable(settings_of(config, given, needs_servers=True, listens=("admin",))))


@app.command(epilog="mcp-fabric connect time\n\nmcp-fabric connect time --broker nats://127.0.0.1:4222")
def connect(
    name: Annotated[str | None, typer.Argument(help="The server. (default: the default server)", show_default=False)] = None,
    config: ConfigOption = None,
    broker: Broker = None,
    fabric: Fabric = None,
) -> None:
    """Be a server of the fabric on stdin and stdout. The command to put into a host's config."""
    run("connect", settings_of(config, given_options(broker, fabric)), name)

"""The commands that check a fabric, before or while it runs."""

from __future__ import annotations

import os

import typer

from workers.commands.options import (
    Broker,
    ConfigArgument,
    Fabric,
    Http,
    Json,
)
from workers.commands.running import given_options, run, settings_of

app = typer.Typer(rich_markup_mode=None)


config_app = typer.Typer(help="Check a config file, or print its JSON Schema.", no_args_is_help=True)


@app.command(epilog="mcp-fabric doctor mcp.json\n\nmcp-fabric doctor mcp.json --broker redis://127.0.0.1 --json")
def doctor(
    config: ConfigArgument = None, http: Http = None, broker: Broker = None, fabric: Fabric = None, json: Json = False
) -> None:
    """Check this machine, the broker and each server, and print a remedy for each check that fails."""
    run("checking.doctor", settings_of(config, given_options(broker, fabric, http=http)), json=json)


@app.command(epilog="mcp-fabric transports\n\nmcp-fabric transports --json")
def transports(json: Json = False) -> None:
    """List the transports, by the scheme of their URLs, with their capabilities."""
    from workers.checking.transports import show

    show(json=json)


@config_app.command("check", epilog="mcp-fabric config check mcp.json")
def config_check(config: ConfigArgument = None) -> None:
    """Report wrong settings, by file, key and reason, and the keys that are passed over. Starts nothing."""
    from workers.checking.config_check import check

    settings = check(config, os.environ)
    count = "1 server" if len(settings.servers) == 1 else f"{len(settings.servers)} servers"
    typer.echo(f"{settings.source.name}: fabric {settings.fabric.name}, {count}: {', '.join(settings.servers)}")
    if settings.source.passed_over:
        typer.echo(f"{settings.source.name}: passed over, as known to hosts alone: {', '.join(settings.source.passed_over)}")


@config_app.command("schema", epilog="mcp-fabric config schema > config.schema.json")
def config_schema() -> None:
    """Print the JSON Schema of the config file."""
    from fabric.config.schema.file import json_schema_text

    typer.echo(json_schema_text(), nl=False)


app.add_typer(config_app, name="config")

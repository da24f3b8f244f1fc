"""Options and arguments that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

ConfigArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CONFIG",
        help="A file of MCP servers as hosts have it, or one server's URI. Without: CONFIG_FILE, else PROGRAM and ARGS.",
        show_default=False,
    ),
]
ConfigOption = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="A file whose `fabric` keys to use.", show_default=False)
]
Http = Annotated[
    str | None, typer.Option(metavar="[HOST:]PORT", help="Where HTTP listens; port 0 picks one. (default: 127.0.0.1:8080)")
]
Tcp = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[HOST:]PORT[=SERVER]",
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
        metavar="[HOST:]PORT[=SERVER]", help="Also serve WebSockets on a port of their own: SERVER at /, or each at /NAME/ws."
    ),
]
Admin = Annotated[str | None, typer.Option(metavar="[HOST:]PORT", help="Where /livez and /readyz answer. (default: nowhere)")]
Broker = Annotated[
    str | None, typer.Option(metavar="URL", help="nats, tls, redis(s) or amqp(s)://HOST. (default: an embedded NATS server)")
]
Fabric = Annotated[str | None, typer.Option("--fabric", metavar="NAME", help="The fabric's name. (default: default)")]
Unauthenticated = Annotated[
    bool, typer.Option("--allow-unauthenticated", help="Listen beyond loopback although nobody is asked who they are.")
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    typer.Option(
        help="What is logged; debug has the servers' stderr, too. (default: info; connect: warning)", show_default=False
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Log errors alone, as --log-level error does.")]
LogFormat = Annotated[
    Literal["text", "json"] | None,
    typer.Option(help="A line for people, or a JSON object a line. (default: text)", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]

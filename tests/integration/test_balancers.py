"""A load balancer without its broker closes each connection: workers keep trying, and serve once the broker runs."""

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
async def test_workers_wait_behind_a_load_balancer_until_its_broker_starts(config: Write, tmp_path: Path, kind: str) -> None:
    server = next(family for family in FAMILIES if family.name == kind).make(tmp_path)
    retries = {"FABRIC_RETRY_INITIAL": "0.01", "FABRIC_RETRY_LONGEST": "0.1"}

    def logs_the_closed_connection(worker: Process) -> None:
        until(lambda: "the connection was closed during its handshake" in worker.log.read_text())

    async with Proxy(free_port()) as balancer:
        url = server.url.replace(str(server.port), str(balancer.port))
        with (
            bridge(config(), tmp_path, url, **retries) as bridge_process,
            edge(config(), tmp_path, url, **retries) as edge_process,
        ):
            await asyncio.to_thread(logs_the_closed_connection, bridge_process)
            await asyncio.to_thread(logs_the_closed_connection, edge_process)
            await asyncio.to_thread(server.start)
            try:
                balancer.target = server.port
                await asyncio.to_thread(bridge_process.ready)
                await asyncio.to_thread(edge_process.ready)
                assert "Traceback" not in bridge_process.log.read_text() + edge_process.log.read_text()
            finally:
                server.release()

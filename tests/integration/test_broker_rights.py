"""A fabric with only the rights of docs/howto/broker-rights.md: calls succeed, and doctor reports the rights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import brokers
from tests.brokers import FAMILIES, Family, Server
from tests.contract.brokers.test_rights import at, nats, redis_server, without
from tests.fabrics import SECRET, bridge, edge, run
from tests.integration.conftest import Write
from tests.integration.mcp_over_http import call, connections, text
from tests.rights import ROLES, password, snippet

pytestmark = [pytest.mark.requirement("K04"), pytest.mark.timeout(240)]


class Guarded(NamedTuple):
    """A broker with a user for each role, and each user's URL by role."""

    server: Server
    urls: dict[str, str]


def make(kind: str, directory: Path) -> Guarded:
    """A broker of this kind with these users, not started yet."""
    match kind:
        case "amqp":
            server = brokers.rabbitmq(directory)
            return Guarded(server, {role: brokers.rabbitmq_as(role, server) for role in ROLES})
        case "redis":
            server = redis_server(directory, snippet("redis"))
            return Guarded(server, {role: at(server, "redis", role) for role in ROLES})
    server = nats(directory, snippet("nats-jetstream" if kind == "jetstream" else "nats"))
    return Guarded(server, {role: at(server, "nats", role, "?work=jetstream" * (kind == "jetstream")) for role in ROLES})


@pytest.fixture(params=["nats", "jetstream", "redis", "amqp"])
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Guarded]:
    guarded = make(request.param, tmp_path)
    guarded.server.start()
    yield guarded
    guarded.server.release()


async def test_a_call_succeeds_with_the_documented_rights(tmp_path: Path, config: Write, guarded: Guarded) -> None:
    with (
        bridge(config(), tmp_path, guarded.urls["bridge"]) as bridge_process,
        edge(config(), tmp_path, guarded.urls["edge"]) as edge_process,
    ):
        bridge_process.ready()
        async with connections([edge_process.url()]) as (client,):
            assert text(await call(client, "echo", path="/echo/mcp", text="hello")) == "hello"
        assert bridge_process.stop() == 0
        assert edge_process.stop() == 0
        logs = bridge_process.log.read_text() + edge_process.log.read_text()
    assert "ERROR" not in logs
    assert not [role for role in ROLES if password(role) in logs]


def doctor(url: str, state: Path) -> dict[str, dict[str, Any]]:
    """Run doctor for this broker, whose output has to show no password; its findings by check."""
    done = run("doctor", "--json", "--broker", url, "--http", "127.0.0.1:0", state=state, FABRIC_SECRET=SECRET)
    assert not [role for role in ROLES if password(role) in done.stdout + done.stderr]
    return {finding["check"]: finding for finding in json.loads(done.stdout)}


def failed(findings: dict[str, dict[str, Any]]) -> list[str]:
    return [check for check, finding in findings.items() if not finding["ok"]]


@pytest.mark.requirement("C03")
def test_doctor_reports_which_role_the_rights_suffice_for(tmp_path: Path, guarded: Guarded) -> None:
    findings = {role: doctor(url, tmp_path) for role, url in guarded.urls.items()}
    for role in ROLES:
        assert not failed(findings[role])
        assert findings[role]["broker rights"]["detail"] == "what is needed"
    assert "enough for an edge, not for a bridge" in findings["edge"]["broker work"]["detail"]
    expected = "round trip" if guarded.urls["bridge"].startswith(("redis", "amqp")) else "enough for a bridge, not for an edge"
    assert expected in findings["bridge"]["broker work"]["detail"]


def without_right(folder: Path, language: str, right: str) -> Server:
    """A NATS server whose bridge lacks this right."""
    return nats(folder, without(snippet(language), "bridge", right))


LESS: dict[str, tuple[Callable[[Path], Server], str, str, str]] = {
    "nats": (
        lambda folder: without_right(folder, "nats", "publish mcpf.default.inbox.*"),
        "",
        "broker inbox",
        "publish to mcpf.default.inbox.",
    ),
    "jetstream": (
        lambda folder: without_right(folder, "nats-jetstream", "publish $JS.API.CONSUMER.MSG.NEXT.mcpf_default_work.*"),
        "?work=jetstream",
        "broker work",
        "publish to $JS.API.CONSUMER.MSG.NEXT.mcpf_default_work.",
    ),
    "redis": (
        lambda folder: redis_server(folder, snippet("redis").replace(" +xautoclaim", "")),
        "",
        "broker rights",
        "a bridge needs +xautoclaim",
    ),
}


@pytest.mark.requirement("C03")
@pytest.mark.parametrize("kind", LESS)
def test_doctor_names_a_missing_right(tmp_path: Path, kind: str) -> None:
    make, options, check, named = LESS[kind]
    server = make(tmp_path).start()
    try:
        findings = doctor(at(server, "redis" if kind == "redis" else "nats", "bridge", options), tmp_path)
    finally:
        server.kill()
    assert failed(findings)[0] == check
    assert named in findings[check]["detail"]
    assert "broker-rights.md" in findings[check]["remedy"]


@pytest.mark.requirement("C03")
@pytest.mark.parametrize("family", [family for family in FAMILIES if family.separate and family.name != "valkey"], ids=str)
def test_doctor_warns_of_excess_rights(tmp_path: Path, family: Family) -> None:
    server = family.make(tmp_path).start()
    try:
        findings = doctor(server.url, tmp_path)
    finally:
        server.release()
    assert not failed(findings)
    assert "wider than needed" in findings["broker rights"]["detail"]
    assert "broker-rights.md" in findings["broker rights"]["remedy"]

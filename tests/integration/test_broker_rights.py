"""A fabric whose edge and bridge have the least rights of docs/howto/broker-rights.md: a call passes, and doctor knows them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import brokers
from tests.brokers import FAMILIES, Family, Server
from tests.contract.brokers.test_rights import at, nats, redis_server, without
from tests.fabrics import SECRET, ask, bridge, edge
from tests.integration.conftest import Write
from tests.integration.talk import call, connections, text
from tests.rights import ROLES, password, snippet

pytestmark = [pytest.mark.requirement("K04"), pytest.mark.timeout(240)]


class Guarded(NamedTuple):
    """A broker with a user for each role; `urls` by role."""

    server: Server
    urls: dict[str, str]


def make(kind: str, directory: Path) -> Guarded:
    """Such a broker, not started yet."""
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


async def test_a_call_passes_with_the_least_rights(tmp_path: Path, config: Write, guarded: Guarded) -> None:
    with bridge(config(), tmp_path, guarded.urls["bridge"]) as serving, edge(config(), tmp_path, guarded.urls["edge"]) as door:
        serving.ready()
        async with connections([door.url()]) as (client,):
            assert text(await call(client, "echo", path="/echo/mcp", text="hello")) == "hello"
        assert serving.stop() == 0
        assert door.stop() == 0
        said = serving.log.read_text() + door.log.read_text()
    assert "ERROR" not in said
    assert not [role for role in ROLES if password(role) in said]


def doctor(url: str, state: Path) -> dict[str, dict[str, Any]]:
    """What it finds at this broker; it shows no password."""
    done = ask("doctor", "--json", "--broker", url, "--http", "127.0.0.1:0", state=state, FABRIC_SECRET=SECRET)
    assert not [role for role in ROLES if password(role) in done.stdout + done.stderr]
    return {finding["check"]: finding for finding in json.loads(done.stdout)}


def wrong(found: dict[str, dict[str, Any]]) -> list[str]:
    return [check for check, finding in found.items() if not finding["ok"]]


@pytest.mark.requirement("C03")
def test_doctor_knows_what_each_is_enough_for(tmp_path: Path, guarded: Guarded) -> None:
    found = {role: doctor(url, tmp_path) for role, url in guarded.urls.items()}
    for role in ROLES:
        assert not wrong(found[role])
        assert found[role]["broker rights"]["detail"] == "what is needed"
    assert "enough for an edge, not for a bridge" in found["edge"]["broker work"]["detail"]
    expected = "round trip" if guarded.urls["bridge"].startswith(("redis", "amqp")) else "enough for a bridge, not for an edge"
    assert expected in found["bridge"]["broker work"]["detail"]


def less(folder: Path, language: str, right: str) -> Server:
    """A NATS server whose bridge lacks this right."""
    return nats(folder, without(snippet(language), "bridge", right))


LESS: dict[str, tuple[Callable[[Path], Server], str, str, str]] = {
    "nats": (
        lambda folder: less(folder, "nats", "publish mcpf.default.inbox.*"),
        "",
        "broker inbox",
        "publish to mcpf.default.inbox.",
    ),
    "jetstream": (
        lambda folder: less(folder, "nats-jetstream", "publish $JS.API.CONSUMER.MSG.NEXT.mcpf_default_work.*"),
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
def test_doctor_names_a_right_that_is_missing(tmp_path: Path, kind: str) -> None:
    make, options, check, named = LESS[kind]
    server = make(tmp_path).start()
    try:
        found = doctor(at(server, "redis" if kind == "redis" else "nats", "bridge", options), tmp_path)
    finally:
        server.kill()
    assert wrong(found)[0] == check
    assert named in found[check]["detail"]
    assert "broker-rights.md" in found[check]["remedy"]


@pytest.mark.requirement("C03")
@pytest.mark.parametrize("family", [family for family in FAMILIES if family.separate and family.name != "valkey"], ids=str)
def test_doctor_warns_of_rights_that_nobody_needs(tmp_path: Path, family: Family) -> None:
    server = family.make(tmp_path).start()
    try:
        found = doctor(server.url, tmp_path)
    finally:
        server.release()
    assert not wrong(found)
    assert "wider than needed" in found["broker rights"]["detail"]
    assert "broker-rights.md" in found["broker rights"]["remedy"]

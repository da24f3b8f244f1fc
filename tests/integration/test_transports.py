"""`mcp-fabric transports` and docs/howto/transports.md list every scheme and its capabilities."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from fabric.brokers import registry as brokers
from fabric.capabilities import Capabilities
from fabric.links import registry as links
from tests.fabrics import run
from tests.pages import DOCS, table
from workers.checking.transports import cells, rows

pytestmark = pytest.mark.requirement("L13")


def declared() -> dict[str, Capabilities]:
    """The capabilities of the fabric's own schemes; other tests may have added that of docs/howto/new-broker.md."""
    every = brokers.capabilities()
    own = {scheme: can for scheme, can in every.items() if brokers.ADAPTERS[scheme].startswith("fabric.")}
    return {**links.capabilities(), **own}


def test_every_scheme_declares_what_it_can_do() -> None:
    assert links.capabilities().keys() == {"stdio", "docker", *links.CONNECTORS}
    assert brokers.capabilities().keys() == brokers.ADAPTERS.keys()
    everything = declared()
    encrypted = {scheme for scheme, can in everything.items() if can.encryption}
    assert encrypted == {"tls", "wss", "https", "sse+https", "rediss", "amqps"}
    with pytest.raises(AttributeError):
        everything["tcp"].streaming = False  # type: ignore[misc]  # it is frozen


def test_transports_prints_a_table_and_json(tmp_path: Path) -> None:
    listed = json.loads(run("transports", "--json", state=tmp_path).stdout)
    assert {row["scheme"]: msgspec.convert(row["capabilities"], Capabilities) for row in listed} == declared()
    printed = run("transports", state=tmp_path).stdout
    for row in listed:
        assert f"\n{row['scheme']} " in printed


def test_the_page_of_transports_shows_the_same_table() -> None:
    shown = [row for row in rows() if row.scheme in declared()]
    assert table(DOCS / "howto" / "transports.md", "scheme") == [cells(row) for row in shown]

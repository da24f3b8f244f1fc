"""`mcp-fabric transports` and the page of transports list what there is, and what each can do."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from fabric.brokers import registry as brokers
from fabric.capabilities import Capabilities
from fabric.links import registry as links
from tests.fabrics import ask
from tests.pages import DOCS, table
from workers.checking.transports import cells, rows

pytestmark = pytest.mark.requirement("L13")


def declared() -> dict[str, Capabilities]:
    """Of each scheme of the fabric's own; in this process other tests may have added the one docs/howto/new-broker.md shows."""
    found = brokers.capabilities()
    own = {scheme: can for scheme, can in found.items() if brokers.ADAPTERS[scheme].startswith("fabric.")}
    return {**links.capabilities(), **own}


def test_every_scheme_declares_what_it_can_do() -> None:
    assert links.capabilities().keys() == {"stdio", *links.CONNECTORS}
    assert brokers.capabilities().keys() == brokers.ADAPTERS.keys()
    everything = declared()
    encrypted = {scheme for scheme, can in everything.items() if can.encryption}
    assert encrypted == {"tls", "wss", "https", "sse+https", "rediss", "amqps"}
    with pytest.raises(AttributeError):
        everything["tcp"].streaming = False  # type: ignore[misc]  # it is frozen


def test_the_command_prints_them_for_people_and_for_machines(tmp_path: Path) -> None:
    told = json.loads(ask("transports", "--json", state=tmp_path).stdout)
    assert {row["scheme"]: msgspec.convert(row["capabilities"], Capabilities) for row in told} == declared()
    printed = ask("transports", state=tmp_path).stdout
    for row in told:
        assert f"\n{row['scheme']} " in printed


def test_the_page_of_transports_shows_the_same_table() -> None:
    shown = [row for row in rows() if row.scheme in declared()]
    assert table(DOCS / "howto" / "transports.md", "scheme") == [cells(row) for row in shown]

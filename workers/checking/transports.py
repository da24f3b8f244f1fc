"""`mcp-fabric transports`: lists the transports by the scheme of their URLs, with the capabilities of each."""

from __future__ import annotations

import msgspec

from fabric.brokers import registry as brokers
from fabric.capabilities import Capabilities
from fabric.links import registry as links
from workers.screen import table


class Row(msgspec.Struct, frozen=True):
    """One transport."""

    scheme: str
    """The scheme of its URLs."""
    carries: str
    """Whether it connects clients and servers, or workers."""
    capabilities: Capabilities


def rows() -> list[Row]:
    """Every transport: links first, then brokers."""
    of_links = [Row(scheme, "clients and servers", each) for scheme, each in links.capabilities().items()]
    return of_links + [Row(scheme, "workers", each) for scheme, each in brokers.capabilities().items()]


def show(*, json: bool) -> None:
    """Print all transports."""
    if json:
        print(msgspec.json.format(msgspec.json.encode(rows())).decode())
        return
    table.show(*titles(), rows=[cells(row) for row in rows()])


def titles() -> list[str]:
    """The columns of the table."""
    names = [field.removesuffix("_bytes").replace("_", " ") for field in Capabilities.__struct_fields__]
    return ["scheme", "carries", *names]


def cells(row: Row) -> list[str]:
    """A row of the table."""
    values = [getattr(row.capabilities, field) for field in Capabilities.__struct_fields__]
    return [row.scheme, row.carries, *(_word(value) for value in values)]


def _word(value: bool | int | None) -> str:
    if value is None:
        return "as set"
    if isinstance(value, bool):
        return "yes" if value else "-"
    return f"{value >> 20} MiB"

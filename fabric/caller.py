"""Whose request it is: what a client's transport says of the one who dialled."""

from __future__ import annotations

import msgspec


class Caller(msgspec.Struct, frozen=True, gc=False):
    """A client as its transport shows it. Each field is empty where nothing says it."""

    address: str = ""
    """The client's own address, not that of a proxy before us; no port."""
    scheme: str = ""
    """The scheme that it dialled, in HTTP's words."""
    host: str = ""
    """The host that it dialled, in HTTP's words."""


NOBODY = Caller()
"""A caller nothing is known of."""

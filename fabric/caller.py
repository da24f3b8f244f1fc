"""The caller of a request, as its client's transport shows it. Links fill it in; telemetry shows it."""

from __future__ import annotations

import msgspec


class Caller(msgspec.Struct, frozen=True, gc=False):
    """A client and the URL that it called. A field is empty if the transport does not show it."""

    address: str = ""
    """The client's own address, not that of a proxy in front of us; without a port."""
    scheme: str = ""
    """The scheme of the URL that the client called: `http` or `https`."""
    host: str = ""
    """The host of the URL that the client called, as in a Host header."""


UNKNOWN_CALLER = Caller()
"""A caller of which nothing is known."""

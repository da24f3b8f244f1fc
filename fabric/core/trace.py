"""Trace contexts of spans that are made afterwards: which ids an exchange's spans have, and whose parents they are.

A context is a W3C traceparent. One is minted for an exchange at its edge and one for each job at its bridge; the ids of their
other spans are the next ones, so nothing more is minted or kept:

    the client's span > edge > sending n (edge + n) > wait (job + 1) > job > call (job + 2) > the MCP server's own spans
"""

from __future__ import annotations

WAIT = 1
"""The span of the broker's part, counted from the job's."""
CALL = 2
"""The span of the server's part, counted from the job's."""

_LAST = (1 << 64) - 1


def id_after(id: int, number: int) -> int:
    """The span id that comes `number` after `id`."""
    return (id + number) & _LAST


def after(span: str, number: int) -> str:
    """The context whose span id comes `number` after that of `span`, which was minted and is well-formed."""
    return f"{span[:36]}{id_after(int(span[36:52], 16), number):016x}{span[52:]}"

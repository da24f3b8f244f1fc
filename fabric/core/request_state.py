"""Where a parked call waits: the requestState a client hands back names the process that issued it."""

from __future__ import annotations

PREFIX = "mcpf1."


def wrap(incarnation: str, child: str, state: str) -> str:
    """The requestState a client gets: the server's own, and where it was issued."""
    return f"{PREFIX}{incarnation}.{len(child)}.{child}{state}"


def unwrap(state: str) -> tuple[str, str, str] | None:
    """Incarnation, child and the server's own state; None for a state that is not of our making."""
    if not state.startswith(PREFIX):
        return None
    incarnation, _, rest = state[len(PREFIX) :].partition(".")
    length, _, rest = rest.partition(".")
    if not length.isdecimal() or len(length) > 4 or int(length) > len(rest):
        return None
    return incarnation, rest[: int(length)], rest[int(length) :]

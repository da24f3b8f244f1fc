"""The requestState of a parked call: it names the process that issued it, so that the client's retry comes back there."""

from __future__ import annotations

PREFIX = "mcpf1."


def wrap(incarnation: str, child: str, state: str) -> str:
    """The requestState that a client gets: incarnation and process that issued it, and the server's own state."""
    return f"{PREFIX}{incarnation}.{len(child)}.{child}{state}"


def unwrap(state: str) -> tuple[str, str, str] | None:
    """Incarnation, process and the server's own state; None for a state that no bridge has wrapped."""
    if not state.startswith(PREFIX):
        return None
    incarnation, _, rest = state[len(PREFIX) :].partition(".")
    length, _, rest = rest.partition(".")
    if not length.isdecimal() or len(length) > 4 or int(length) > len(rest):
        return None
    return incarnation, rest[: int(length)], rest[int(length) :]

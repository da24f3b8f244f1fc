"""How an MCP server is started: its command, and the environment it is given."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class ServerCommand(msgspec.Struct, frozen=True):
    """How to start an MCP server."""

    command: str
    args: tuple[str, ...] = ()
    cwd: str = ""
    """Its working directory; empty for ours."""
    env: dict[str, str] = msgspec.field(default_factory=dict)
    """Its variables, on top of the allowed part of our environment."""
    grace: float = 5.0
    """Seconds that it has to stop, at each step."""

    def __repr__(self) -> str:
        return f"ServerCommand({self.command!r}, {len(self.args)} args)"  # arguments and variables may hold secrets


def environment(inherited: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """A server's environment: what the MCP SDKs pass on of `inherited`, and the locale; `extra` on top, nothing else."""
    allowed = {
        name: value
        for name, value in inherited.items()
        if (name in _INHERITED or name.startswith("LC_")) and not value.startswith("()")  # a function that a shell exported
    }
    return {**allowed, **extra}


_INHERITED = frozenset({"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LANGUAGE"})

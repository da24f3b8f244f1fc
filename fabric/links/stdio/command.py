"""The command that starts an MCP server, and the environment that it gets."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class ServerCommand(msgspec.Struct, frozen=True):
    """The command of an MCP server, and how to run it."""

    command: str
    """The program: a name on PATH, or a path."""
    args: tuple[str, ...] = ()
    """The program's arguments."""
    cwd: str = ""
    """The working directory; empty for ours."""
    env: dict[str, str] = msgspec.field(default_factory=dict)
    """Environment variables, on top of the allowed part of our environment."""
    grace: float = 5.0
    """Seconds from the end of stdin to SIGTERM, and from SIGTERM to SIGKILL, when the server is stopped."""
    transport: str = "stdio"
    """The transport of its link, as in LinkInfo."""
    title: str = ""
    """What errors call the server; empty for its program."""
    remedy: str = "install it, or give its full path"
    """What an error suggests if there is no such program."""
    statuses: dict[int, str] = msgspec.field(default_factory=dict)
    """The meaning of some of the program's exit statuses, for people."""
    cleanup: tuple[str, ...] = ()
    """A command that is run once the program has ended, however that came; empty for none."""

    @property
    def name(self) -> str:
        """What errors call the server."""
        return self.title or self.command

    def __repr__(self) -> str:
        return f"ServerCommand({self.name!r}, {len(self.args)} args)"  # arguments and variables may hold secrets


def environment(inherited: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """A server's environment: the variables of `inherited` that the MCP SDKs pass on, the locale, and `extra` on top."""
    allowed = {
        name: value
        for name, value in inherited.items()
        if (name in _INHERITED or name.startswith("LC_")) and not value.startswith("()")  # a function that a shell exported
    }
    return {**allowed, **extra}


_INHERITED = frozenset({"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LANGUAGE"})

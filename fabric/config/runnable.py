"""Whether this machine has what its servers need: programs, folders, certificates and variables. Asked before a start.

It stands apart from the schema: a file may name servers that only other machines run.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fabric.config.settings.process import Settings
from fabric.errors import ConfigError
from fabric.security.tls import client_context


def refuse_unrunnable_servers(settings: Settings) -> None:
    """Raise ConfigError if a program, folder or certificate of a server, or a variable it needs is missing."""
    if unready := [line for server in settings.servers.values() for line in server.unready]:
        raise ConfigError("\n".join(unready))
    for server in settings.servers.values():
        where = f"{settings.source.name}: {settings.source.servers_at}.{server.name}"
        if server.url:
            try:
                client_context(server.trust)
            except ConfigError as error:
                raise ConfigError(error.reason, where=f"{where}.tls") from None
            continue
        if not Path(server.cwd).is_dir():
            raise ConfigError(f"no such folder: {server.cwd}", where=f"{where}.cwd")
        if shutil.which(server.command, path=server.env.get("PATH", os.defpath)) is None:
            place = "there is no such program" if os.sep in server.command else "no such program on PATH"
            if server.container is not None:
                raise ConfigError(f"{place}: {server.command}; install it, or name another", where=f"{where}.engine")
            program = shutil.which((server.command.split() or [""])[0], path=server.env.get("PATH", os.defpath))
            hint = "; arguments go into `args`" if program else ""
            raise ConfigError(f"{place}: {server.command}{hint}", where=f"{where}.command")

"""The `mcp-fabric` command: refuses machines it does not run on, runs a command, and turns its errors into exit codes.

Each command is a function in workers/commands. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 nobody
answers (no broker, no worker).
"""

from __future__ import annotations

import sys

OLDEST_PYTHON = (3, 11)
PLATFORMS = ("linux", "darwin")


def main() -> None:
    """Run the command line; ends the process."""
    # before the first import of anything that an old Python or Windows could not import
    if sys.version_info < OLDEST_PYTHON:
        _end(2, "Python {}.{} or later is needed; this is {}.{}".format(*OLDEST_PYTHON, *sys.version_info))
    if sys.platform not in PLATFORMS:
        _end(2, f"runs on Linux and macOS; {sys.platform} is not supported (on Windows use WSL)")
    try:
        from fabric.errors import BrokerUnavailable, ConfigError, FabricError
    except ImportError:
        from workers.shadow import REMEDY, shadow

        if found := shadow():
            _end(1, f"{found}\n{REMEDY}")
        raise
    from workers.commands import app

    try:
        app(prog_name="mcp-fabric")
    except ConfigError as error:
        _end(2, str(error))
    except BrokerUnavailable as error:
        _end(3, str(error))
    except FabricError as error:
        _end(1, str(error))


def _end(code: int, message: str) -> None:
    for line in message.splitlines():
        print(f"mcp-fabric: {line}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()

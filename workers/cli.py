"""The `mcp-fabric` command: refuses machines it does not run on, runs a command, and turns its errors into exit codes.

Each command is a function of workers/commands. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 nobody
answers (no broker, no worker), 130 interrupted by Ctrl-C, 143 ended by SIGTERM before it was done.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys

OLDEST_PYTHON = (3, 11)
PLATFORMS = ("linux", "darwin")

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main() -> None:
    """Run the command line; ends the process."""
    # before the first import of anything that an old Python or Windows could not import
    if sys.version_info < OLDEST_PYTHON:
        _end(2, "Python {}.{} or later is needed; this is {}.{}".format(*OLDEST_PYTHON, *sys.version_info))
    if sys.platform not in PLATFORMS:
        _end(2, f"runs on Linux and macOS; {sys.platform} is not supported (on Windows use WSL)")
    _open_standard_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody wants it ignored
        # An exception could come up anywhere in an import. Once a command runs, it takes the signal itself.
        signal.signal(signal.SIGINT, _interrupted)
    gc.disable()  # what is imported stays: a tenth of the time of all imports went into looking through it
    try:
        from fabric.errors import BrokerUnavailable, ConfigError, FabricError
    except ImportError:
        from workers.import_conflict import REMEDY, import_conflict

        if found := import_conflict():
            _end(1, f"{found}\n{REMEDY}")
        raise
    from workers.commands import app

    try:
        try:
            app(prog_name="mcp-fabric")
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # what cannot be written is found here, not when Python ends
    except ConfigError as error:
        _end(2, str(error))
    except BrokerUnavailable as error:
        _end(3, str(error))
    except FabricError as error:
        _end(1, str(error))
    except OSError as error:
        if error.errno not in (errno.EPIPE, *_FULL):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nor is the rest written
        _end(1, f"cannot write: {error.strerror}" if error.errno in _FULL else "")


def _end(code: int, message: str) -> None:
    for line in message.splitlines():
        print(f"mcp-fabric: {line}", file=sys.stderr)
    sys.exit(code)


def _open_standard_streams() -> None:
    """Give those that whoever started us has closed to nobody: the event loop dies of a socket that gets such a number."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _interrupted(*_: object) -> None:
    os.write(2, b"mcp-fabric: interrupted\n")
    os._exit(130)  # nothing was begun that would have to be undone


if __name__ == "__main__":
    main()

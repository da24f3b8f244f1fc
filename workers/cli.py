"""The `mcp-fabric` command: refuses machines it does not run on, runs a command, and turns its errors into exit codes.

Each command is a function of workers/commands. Exit codes: 0 done, also where the reader of stdout closed it early, 1 failed,
2 wrong usage or configuration, 3 nobody answers (no broker, no worker), 130 interrupted by Ctrl-C, 143 ended by SIGTERM before
the command was done.
"""

from __future__ import annotations

import gc
import os
import signal
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
    from workers.screen import standard_streams

    standard_streams.prepare()
    _refuse_unreadable()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else our parent wants it ignored
        # KeyboardInterrupt could come up anywhere in an import. A command that runs handles the signal itself.
        signal.signal(signal.SIGINT, _interrupted)
    gc.disable()  # imported objects stay alive; to look through them took a tenth of the time of all imports
    try:
        from fabric.errors import BrokerUnavailable, ConfigError, FabricError
    except ImportError:
        from workers.import_conflict import REMEDY, import_conflict

        if conflict := import_conflict():
            _end(1, f"{conflict}\n{REMEDY}")
        raise
    from workers.commands import app

    try:
        try:
            app(prog_name="mcp-fabric")
        finally:
            sys.stdout.flush()  # a write that fails is reported here, not when Python ends
    except ConfigError as error:
        _end(2, str(error))
    except BrokerUnavailable as error:
        _end(3, str(error))
    except FabricError as error:
        _end(1, str(error))
    except standard_streams.StdoutLost as error:
        standard_streams.drop_stdout()
        _end(*((0, "") if error.reader_left else (1, str(error))))


def _end(code: int, message: str) -> None:
    for line in message.splitlines():
        print(f"mcp-fabric: {line}", file=sys.stderr)
    sys.exit(code)


def _refuse_unreadable() -> None:
    """End with exit code 2 for an argument or a FABRIC_ variable that is not text: it could be neither printed nor sent."""
    encoding = sys.getfilesystemencoding().upper()
    for number, argument in enumerate(sys.argv[1:], 1):
        if not _is_text(argument):
            _end(2, f"argument {number} is not {encoding}: {str(os.fsencode(argument))[2:-1]}")
    for name, value in os.environ.items():
        if name.startswith("FABRIC_") and not _is_text(value):  # the value may be a secret
            _end(2, f"{name} is not {encoding}")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _interrupted(*_: object) -> None:
    os.write(2, b"mcp-fabric: interrupted\n")
    os._exit(130)  # nothing has begun that has to be undone


if __name__ == "__main__":
    main()

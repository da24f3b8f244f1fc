"""The state folder: where the processes of one user on one machine find the embedded broker, its token and the secret."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from fabric.errors import ConfigError

NAME = "mcp-fabric"


def state_path(environment: Mapping[str, str]) -> Path:
    """The user's state folder: in XDG_RUNTIME_DIR if that is there and ours, in XDG_STATE_HOME, or in ~/.local/state.

    A host may start us without XDG_RUNTIME_DIR; the usual place of that folder is tried then. Raises ConfigError if none of
    them is known.
    """
    custom = "" if "XDG_STATE_HOME" in environment else f"/run/user/{os.geteuid()}"
    runtime = environment.get("XDG_RUNTIME_DIR", custom)
    if runtime.startswith("/") and _is_ours(Path(runtime)):  # under sudo it is another user's
        return Path(runtime) / NAME
    home = environment.get("XDG_STATE_HOME", "")
    if home.startswith("/"):  # the XDG specification ignores a relative one
        return Path(home) / NAME
    if user := environment.get("HOME", ""):
        return Path(user) / ".local" / "state" / NAME
    raise ConfigError("there is no HOME to keep state in; name a folder", where="FABRIC_STATE")


def prepare(folder: Path) -> Path:
    """Make the folder, with mode 0700, if it does not exist. Raises ConfigError if others own it or may enter it."""
    refuse_foreign(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise ConfigError(f"cannot be made: {error.strerror}; FABRIC_STATE names another", where=str(folder)) from error
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigError("the state folder is a link or a file; FABRIC_STATE names another", where=str(folder))
    if status.st_mode & 0o077:
        raise ConfigError(f"others may enter the state folder; run `chmod 700 {shlex.quote(str(folder))}`", where=str(folder))
    return folder


def refuse_foreign(folder: Path) -> None:
    """Raise ConfigError if another user owns the folder, or a folder above it that we may not enter. It need not exist."""
    try:
        status = folder.lstat()
    except PermissionError:
        barred = next(above for above in folder.parents if os.access(above.parent, os.X_OK))
        reason = f"the state folder may not be entered: {barred} belongs to {_user(barred.lstat().st_uid)}"
    except OSError:
        return
    else:
        if status.st_uid == os.geteuid():
            return
        reason = f"the state folder belongs to {_user(status.st_uid)}, and nobody else may enter it"
    raise ConfigError(f"{reason}; FABRIC_STATE names another", where=str(folder))


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _is_ours(folder: Path) -> bool:
    try:
        return folder.stat().st_uid == os.geteuid()
    except OSError:
        return False

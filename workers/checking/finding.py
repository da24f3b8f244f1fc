"""The result of one check of `doctor`."""

from __future__ import annotations

import msgspec

from fabric.errors import FabricError


class Finding(msgspec.Struct, frozen=True):
    """One check and its result."""

    check: str
    """The name of the check."""
    ok: bool
    detail: str
    """The result, for people."""
    remedy: str = ""
    """What to do. A check that is ok and has a remedy is a warning."""
    seconds: float = 0.0
    """The duration of the check."""


def failed(check: str, error: FabricError, otherwise: str) -> Finding:
    """A check that failed with this error. The remedy is the text behind the error's last semicolon, else `otherwise`."""
    detail, _, remedy = str(error).rpartition("; ")
    return Finding(check, False, detail, remedy) if detail else Finding(check, False, remedy, otherwise)

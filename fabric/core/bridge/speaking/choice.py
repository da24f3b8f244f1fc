"""Chooses the Speaker of a process: by the eras of its server, and by the era of the clients that the process is for."""

from __future__ import annotations

from fabric.core.bridge.speaking.base import Speaker
from fabric.core.bridge.speaking.legacy import Legacy
from fabric.core.bridge.speaking.legacy_clients.legacy_on_modern import LegacyOnModern
from fabric.core.bridge.speaking.legacy_clients.undecided import Undecided
from fabric.core.bridge.speaking.modern import Modern
from fabric.mcp import eras


def for_modern_clients(spoken: tuple[str, ...]) -> type[Speaker] | None:
    """The Speaker of the process that modern clients share; None if each kind of client has processes of its own."""
    return Modern if eras.MODERN in spoken else None


def for_legacy_session(spoken: tuple[str, ...], *, refused: bool) -> type[Speaker]:
    """The Speaker of a process for one legacy client. refused: its server takes no initialize."""
    if eras.LEGACY in spoken:
        return Legacy
    return LegacyOnModern if refused else Undecided

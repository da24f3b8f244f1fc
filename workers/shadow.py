"""Another package named `fabric` in our place: PyPI has one. Imports nothing of ours, which may not be there."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from contextlib import suppress
from pathlib import Path

OURS = Path(__file__).parent.parent / "fabric"
REMEDY = "pip uninstall fabric; pip install --force-reinstall mcp-transport-fabric"


def shadow() -> str:
    """What stands in the way of our own package, for people; empty if nothing does."""
    found = importlib.util.find_spec("fabric")
    where = Path(found.origin).parent if found is not None and found.origin else None
    if where != OURS:
        return f"`import fabric` finds {where or 'nothing'}, not {OURS}"
    with suppress(importlib.metadata.PackageNotFoundError):
        return f"Fabric {importlib.metadata.version('fabric')} is installed, and its files lie where ours do"
    return ""

"""Finds another package named `fabric` in the place of ours: PyPI has one. Imports nothing of ours, as it may be missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from contextlib import suppress
from pathlib import Path

OURS = Path(__file__).parent.parent / "fabric"
REMEDY = "pip uninstall fabric; pip install --force-reinstall mcp-transport-fabric"


def import_conflict() -> str:
    """Why our own package is not imported, for people; empty if it is."""
    found = importlib.util.find_spec("fabric")
    where = Path(found.origin).parent if found is not None and found.origin else None
    if where != OURS:
        return f"`import fabric` finds {where or 'nothing'}, not {OURS}"
    with suppress(importlib.metadata.PackageNotFoundError):
        return f"Fabric {importlib.metadata.version('fabric')} is installed, and its files lie where ours do"
    return ""

"""Detects another package named `fabric` in the place of ours: PyPI has one. Imports no module of ours: it may be missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from contextlib import suppress
from pathlib import Path

OURS = Path(__file__).parent.parent / "fabric"
REMEDY = "pip uninstall fabric; pip install --force-reinstall mcp-transport-fabric"


def import_conflict() -> str:
    """Why `import fabric` does not give our package, for people; empty if it does."""
    spec = importlib.util.find_spec("fabric")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    if folder != OURS:
        return f"`import fabric` finds {folder or 'nothing'}, not {OURS}"
    with suppress(importlib.metadata.PackageNotFoundError):
        return f"the package Fabric {importlib.metadata.version('fabric')} is installed, and has overwritten files of ours"
    return ""

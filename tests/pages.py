"""Pages of documentation as tests read them: their tables and their blocks of code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def table(page: Path, first: str) -> list[list[str]]:
    """The rows of the one table whose first column is headed `first`: its cells, without backquotes around the whole cell."""
    found = [block for block in re.findall(r"(?:^\|.*\n)+", page.read_text(), re.MULTILINE) if block.startswith(f"| {first} |")]
    assert len(found) == 1, f"{page.name} has {len(found)} tables headed {first!r}"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[0].splitlines()[2:]]
    return [[re.sub(r"^`([^`]*)`$", r"\1", cell) for cell in row] for row in rows]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of code in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)

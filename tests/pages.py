"""Reads the tables and code blocks of documentation pages, for tests that compare them with the code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def table(page: Path, first: str) -> list[list[str]]:
    """The rows of the one table whose first column is headed `first`; cells without backquotes around them."""
    tables = [
        block for block in re.findall(r"(?:^\|.*\n)+", page.read_text(), re.MULTILINE) if block.startswith(f"| {first} |")
    ]
    assert len(tables) == 1, f"{page.name} has {len(tables)} tables headed {first!r}"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables[0].splitlines()[2:]]
    return [[re.sub(r"^`([^`]*)`$", r"\1", cell) for cell in row] for row in rows]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of code in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)

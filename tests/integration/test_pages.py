"""The pages show what the commands print today: each is run, from its top to its bottom, as a reader does in a fresh clone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.brokers import missing
from tests.pages import DOCS, ROOT
from tests.shown import Clone, told

TOLD = [page for page in (ROOT / "README.md", DOCS / "tutorial.md", *sorted((DOCS / "howto").glob("*.md"))) if told(page)]
"""The pages that have something to run."""


@pytest.mark.requirement("C01")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", TOLD, ids=[page.name for page in TOLD])
def test_what_a_page_shows_is_what_happens(page: Path, tmp_path: Path) -> None:
    if re.search(r"^curl ", page.read_text(), re.MULTILINE) and not shutil.which("curl"):
        missing("curl")
    clone = Clone(tmp_path, page)
    try:
        clone.tell()
    finally:
        clone.stop()

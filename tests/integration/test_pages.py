"""The pages show what the commands print today: each is run, from its top to its bottom, as a reader does in a fresh clone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages import DOCS, ROOT
from tests.shown import Clone, parts

TOLD = [ROOT / "README.md", DOCS / "tutorial.md"]
"""The pages whose commands are all in `sh` blocks."""


@pytest.mark.requirement("C01")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", TOLD, ids=[page.name for page in TOLD])
def test_what_a_page_shows_is_what_happens(page: Path, tmp_path: Path) -> None:
    clone = Clone(tmp_path, page)
    story = parts(page)
    try:
        assert clone.tell() == sum(part.kind == "sh" for part in story) - sum(part.kind == "not run" for part in story)
    finally:
        clone.stop()

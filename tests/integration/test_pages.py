"""Every documentation page shows what its commands print: each is run from top to bottom, as in a fresh clone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.brokers import missing
from tests.page_commands import Clone, has_commands
from tests.pages import DOCS, ROOT

PAGES = [
    page for page in (ROOT / "README.md", DOCS / "tutorial.md", *sorted((DOCS / "howto").glob("*.md"))) if has_commands(page)
]
"""The pages with commands to run."""


@pytest.mark.requirement("C01")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_the_commands_of_a_page_print_what_it_shows(page: Path, tmp_path: Path) -> None:
    if re.search(r"^curl ", page.read_text(), re.MULTILINE) and not shutil.which("curl"):
        missing("curl")
    clone = Clone(tmp_path, page)
    try:
        clone.run()
    finally:
        clone.stop()

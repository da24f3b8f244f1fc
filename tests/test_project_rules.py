"""The rules for the project's files: where they are, how long they are, their first lines, and their imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOP_LEVEL = {
    "pyproject.toml", "README.md", "fabric", "workers", "tests", "compose", "dashboards", "docs", "examples", "benchmarks",
    "Makefile", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md",
}  # fmt: skip
GENERATED = {"dist", "node_modules", "__pycache__", "secret"}  # as in .gitignore
LONGEST = 500
FILES_MOST = 12


def files(*suffixes: str) -> Iterator[Path]:
    """Every file of the project with one of these suffixes."""
    for folder in [".ci", *sorted(TOP_LEVEL)]:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in suffixes and GENERATED.isdisjoint(path.parts):
                yield path


def test_the_top_level_holds_only_what_belongs_there() -> None:
    names = {path.name for path in ROOT.iterdir() if not path.name.startswith(".") and path.suffix != ".egg-info"}
    assert names - GENERATED <= TOP_LEVEL


def test_no_file_is_longer_than_500_lines() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in files(".py", ".md", ".sh")}
    assert not {path: length for path, length in lengths.items() if length > LONGEST}


def test_no_package_folder_has_more_than_12_files() -> None:
    counts = {
        folder.relative_to(ROOT): len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        for package in ("fabric", "workers")
        for folder in [ROOT / package, *(ROOT / package).rglob("*")]
        if folder.is_dir()
    }
    assert not {folder: count for folder, count in counts.items() if count > FILES_MOST}


def test_each_module_has_a_docstring_with_a_first_line() -> None:
    assert not [
        path.relative_to(ROOT)
        for path in files(".py")
        if path.name != "__init__.py" and not (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0].strip()
    ]


def test_imports_follow_the_contracts_of_import_linter() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert result.returncode == 0, result.stdout + result.stderr

"""Every requirement is shown by a test or marked as deferred, and every marker of a test names a requirement."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
REQUIREMENTS = tomllib.loads((TESTS / "requirements.toml").read_text())


def marked() -> Iterator[tuple[str, Path]]:
    """Each id in a @pytest.mark.requirement and its file, read from the sources so that a run of some tests checks them all."""
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr="requirement", value=ast.Attribute(attr="mark")), args=ids):
                    for ident in ids:
                        assert isinstance(ident, ast.Constant), f"{path}:{node.lineno}: an id has to be written out"
                        assert isinstance(ident.value, str), f"{path}:{node.lineno}: an id has to be a string"
                        yield ident.value, path


def test_each_requirement_is_bound_to_a_test_or_deferred() -> None:
    bound = {ident for ident, _ in marked()}
    assert not [ident for ident, entry in REQUIREMENTS.items() if ident not in bound and "deferred" not in entry]


def test_a_partly_kept_requirement_is_bound_to_a_test_and_not_deferred() -> None:
    bound = {ident for ident, _ in marked()}
    partly = {ident: entry for ident, entry in REQUIREMENTS.items() if "partly" in entry}
    assert not [ident for ident, entry in partly.items() if ident not in bound or "deferred" in entry]


def test_each_marker_names_a_requirement_that_is_known_and_not_deferred() -> None:
    due = {ident for ident, entry in REQUIREMENTS.items() if "deferred" not in entry}
    assert not [f"{path.relative_to(TESTS)}: {ident}" for ident, path in marked() if ident not in due]


def test_each_requirement_has_a_text_and_an_origin_and_nothing_else() -> None:
    assert not [ident for ident, entry in REQUIREMENTS.items() if entry.keys() - {"deferred", "partly"} != {"text", "from"}]
    assert all(all(entry.values()) for entry in REQUIREMENTS.values())

"""The runner of documentation pages accepts what a page shows, and reports every difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.page_commands import Clone, expected, normalized, parts


def run(tmp_path: Path, page: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(page)
    clone = Clone(tmp_path, path)
    try:
        clone.run()
    finally:
        clone.stop()


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("took 22 s\n", "took 0.1 s\n"),
        ("edge    vm:1508  healthy\n", "edge    host-7.local:99821    healthy\n"),
        ("at 2026-11-21T01:56:10+01:00\n", "at 2027-01-02T03:04:05Z\n"),
        ("a ... z\n", "a b c z\n"),
        ("first\n...\nlast\n", "first\nlast\n"),
        ("first\n...\nlast\n", "first\nsecond\nthird\nlast\n"),
        ("nats://127.0.0.1:37977\n", "nats://127.0.0.1:40123\n"),
    ],
)
def test_output_that_varies_from_run_to_run_matches(shown: str, printed: str) -> None:
    assert expected(shown).fullmatch(normalized(printed))


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("ready, 3 tools\n", "ready, 4 tools\n"),
        ("one\n", "one\ntwo\n"),
        ("one\ntwo\n", "one\n"),
        ("nats://127.0.0.1:4222\n", "nats://127.0.0.1:4223\n"),
        ("a.c\n", "abc\n"),
    ],
)
def test_other_differences_do_not_match(shown: str, printed: str) -> None:
    assert not expected(shown).fullmatch(normalized(printed))


def test_the_blocks_of_a_page_run_in_order_in_one_folder(tmp_path: Path) -> None:
    page = """
```json file.json
{}
```
```sh
export WORD=there
cat file.json
```
```text
{}
```
<!-- not run: it cannot be -->
```sh
exit 1
```
```sh
echo "$WORD" > output && cat output
```
```text
there
```
"""
    run(tmp_path, page)
    assert [part.kind for part in parts(tmp_path / "page.md")] == ["json", "sh", "text", "not run", "sh", "sh", "text"]


def test_a_block_that_goes_on_runs_beside_the_next_and_is_stopped_in_the_end(tmp_path: Path) -> None:
    page = """
<!-- goes on -->
```sh
echo serves
sleep 1000
```
```text
serves
```
```sh
echo beside
```
```text
beside
```
<!-- kill: sleep -->
"""
    run(tmp_path, page)


@pytest.mark.parametrize(
    "page",
    [
        "```sh\necho this\n```\n```text\nthat\n```\n",
        "```sh\nfalse\n```\n",
        "```sh\necho a\necho b\n```\n```text\na\n```\n",
    ],
)
def test_a_page_whose_output_differs_fails(tmp_path: Path, page: str) -> None:
    with pytest.raises(AssertionError, match=r"page\.md, line 1 "):
        run(tmp_path, page)

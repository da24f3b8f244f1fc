"""docs/spec/errors.md lists the errors of the fabric as the code raises them."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

import pytest

from fabric.errors import TransportError
from fabric.faults import CODES, Fault, Reason, fault_frame
from fabric.links.http.response_status import answer_status
from tests.pages import DOCS, ROOT, table

PAGE = DOCS / "spec" / "errors.md"
ROWS = table(PAGE, "code")

pytestmark = pytest.mark.requirement("D09")


def raised() -> Iterator[ast.Call]:
    """Each call in the code that makes a fault and names its reason."""
    for folder in ("fabric", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(func=ast.Name(id="Fault" | "refuse")):
                        if reasons(node):
                            yield node


def reasons(call: ast.Call) -> list[Reason]:
    """The reason that such a call names."""
    return [Reason[part.attr] for part in call.args if isinstance(part, ast.Attribute) and part.attr in Reason.__members__]


def given(call: ast.Call, keyword: str) -> bool:
    """Whether a call gives this keyword a value other than False."""
    return any(each.arg == keyword and ast.unparse(each.value) != "False" for each in call.keywords)


def word(values: set[bool]) -> str:
    return "sometimes" if len(values) > 1 else "yes" if values == {True} else "no"


def test_every_reason_is_listed_with_its_code() -> None:
    assert [(int(row[0]), row[1]) for row in ROWS] == [(code, str(reason)) for reason, code in CODES.items()]


def test_each_reason_is_listed_with_the_http_status_of_its_answers() -> None:
    for reason, row in zip(Reason, ROWS, strict=True):
        frame = fault_frame(b"1", Fault(reason, "no"))
        statuses = [answer_status(frame, modern=modern, otherwise=200)[0] for modern in (True, False)]
        assert [int(cell) for cell in row[5:]] == statuses, reason


@pytest.mark.parametrize(("keyword", "column"), [("retryable", 3), ("retry_after", 4)])
def test_retry_advice_is_listed_as_the_code_gives_it(keyword: str, column: int) -> None:
    given_by_reason: defaultdict[Reason, set[bool]] = defaultdict(set)
    for call in raised():
        given_by_reason[reasons(call)[0]].add(given(call, keyword))
    assert {row[1]: row[column].partition(",")[0] for row in ROWS} == {
        str(reason): word(given_by_reason[reason]) for reason in Reason
    }


def test_the_listeners_own_refusals_are_listed() -> None:
    refusals = {
        (status.value, str(reasons(call)[0]))
        for call in raised()
        if isinstance(call.func, ast.Name) and call.func.id == "refuse" and isinstance(status := call.args[0], ast.Constant)
    }
    assert {(int(row[0]), row[1]) for row in table(PAGE, "status")} == refusals


@pytest.mark.requirement("K04")
def test_the_tree_of_link_and_broker_errors_is_listed() -> None:
    def below(kind: type[TransportError]) -> Iterator[tuple[str, str]]:
        for child in kind.__subclasses__():
            if child.__module__ == TransportError.__module__:
                yield child.__name__, kind.__name__
                yield from below(child)

    listed = table(PAGE, "class")
    assert [(row[0], row[1]) for row in listed] == list(below(TransportError))
    assert all(all(row) for row in listed)

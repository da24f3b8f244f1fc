"""The promised figures, compared with the rounds: a ratio within each round, or a rate."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from benchmarks.peers import PEERS
from benchmarks.rounds import Round, Row, Series
from benchmarks.targets import GRANTED, LEGACY, REPEATABLE

HEADINGS = ("promised", "measured", "its range", "kept")
_LINKS = {"stdio": 50_000, "unix": 45_000, "tcp": 30_000, "ws": 25_000, "http": 15_000}
_RELAY = Row("relay", "http", REPEATABLE)


@dataclass(frozen=True)
class Promise:
    """A figure of `row`, divided by that of `other` if there is one, is at most (or at least) `bound`."""

    words: str
    """Its text in the table."""
    figure: str
    """`alone` (p50 of one call at a time), `cpu` or `rate`."""
    row: Row
    other: Row | None
    bound: float
    at_least: bool = False

    def values(self, series: Series) -> list[float]:
        """The figure or ratio of each round in which both rows were measured."""
        own = [_figure(each, self.figure) for each in series.rounds.get(self.row, ())]
        if self.other is None:
            return own
        others = [_figure(each, self.figure) for each in series.rounds.get(self.other, ())]
        return [value / other for value, other in zip(own, others, strict=False)]

    def cells(self, series: Series) -> list[str]:
        """Its row of the table."""
        words = f"{self.words} at {'least' if self.at_least else 'most'} {self.bound:,g}{'' if self.other is None else 'x'}"
        if not (values := self.values(series)):
            return [words, "not measured", "", ""]
        middle = median(values)
        kept = middle >= self.bound if self.at_least else middle <= self.bound
        form = "{:,.0f}" if self.other is None else "{:.2f}x"
        return [words, form.format(middle), f"{form.format(min(values))} - {form.format(max(values))}", "yes" if kept else "NO"]


def _figure(measured: Round, name: str) -> float:
    match name:
        case "alone":
            return measured.alone.p50
        case "cpu":
            return measured.loaded.tree_cpu
        case _:
            return measured.loaded.rate


def _promises() -> list[Promise]:
    over_http = [name for name, peer in PEERS.items() if peer.transport == "http"]
    fabric = Row("embedded", "http", LEGACY)
    relay = "of the relay's CPU a request"
    return [
        Promise(f"F01 HTTP, a repeatable call: {relay},", "cpu", Row("embedded", "http", REPEATABLE), _RELAY, 5),
        Promise(f"F01 HTTP, a call that needs a grant: {relay},", "cpu", Row("embedded", "http", GRANTED), _RELAY, 7),
        *(
            Promise(f"F01 p50 of one HTTP call alone: of {name}'s,", "alone", fabric, Row(name, "http", LEGACY), 0.5)
            for name in over_http
        ),
        *(
            Promise(f"F02 {transport}: {relay},", "cpu", Row("embedded", transport, REPEATABLE), _RELAY, bound)
            for transport, bound in (("ws", 4), ("tcp", 3.5), ("unix", 3.5))
        ),
        *(
            Promise(f"F03 requests/s over HTTP: of {name}'s,", "rate", fabric, Row(name, "http", LEGACY), 10, at_least=True)
            for name in over_http
        ),
        *(
            Promise(f"F04 {name} link alone: requests/s", "rate", Row("links", name, LEGACY), None, bound, at_least=True)
            for name, bound in _LINKS.items()
        ),
    ]


def table(series: Series) -> list[list[str]]:
    """The rows of all promises that were measured."""
    every = [promise.cells(series) for promise in _promises()]
    return [cells for cells in every if cells[-1]]

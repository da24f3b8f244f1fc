"""Prints a table on stdout. rich, whose import takes long, is used only where the columns do not fit."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence

from workers.screen.terminal import harmless

PIPE_WIDTH = 240
"""Columns of a table that goes to no terminal."""

_GAP = "  "


def show(*titles: str, rows: Iterable[Sequence[object]]) -> None:
    """Print the rows under their titles, which are bold on a terminal."""
    cells = [[harmless(str(cell)) for cell in row] for row in rows]
    terminal = sys.stdout.isatty()
    room = shutil.get_terminal_size().columns if terminal else PIPE_WIDTH
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    plain = all(cell.isascii() and cell.isprintable() for row in cells for cell in row)  # each character one column wide
    if not plain or sum(widths) + len(_GAP) * (len(widths) - 1) > room:
        _fold(titles, cells, None if terminal else PIPE_WIDTH)
        return
    first, *others = [_GAP.join(map(str.ljust, row, widths)) for row in (titles, *cells)]
    bold = terminal and os.environ.get("TERM") != "dumb"
    print("\n".join([f"\x1b[1m{first}\x1b[0m" if bold else first, *others]))


def _fold(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=False)
    for row in rows:
        table.add_row(*row)
    Console(width=width, highlight=False, markup=False).print(table)

"""Draws bars on logarithmic axes with the range of the rounds, as SVG, without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import floor, log10
from statistics import median

_LINE, _LABEL, _PANEL, _GAP, _TOP = 18, 270, 360, 70, 66
_COLOURS = {"embedded": "#1b6ca8", "relay": "#8a8a8a", "ceiling": "#c4c4c4", "links": "#2e8b57"}
_OTHER = "#6aa6d6"


def svg(title: str, panels: dict[str, dict[str, list[float]]], highlighted: Sequence[str]) -> str:
    """Panels side by side over the same labels, each with its heading and, by label, the values of the rounds.

    A bar ends at the median, a thin line spans the range. A label's first word chooses the colour; labels that begin with one
    of `highlighted` have a colour of their own.
    """
    labels = list(dict.fromkeys(label for values in panels.values() for label in values))
    width, height = _LABEL + len(panels) * (_PANEL + _GAP), _TOP + len(labels) * _LINE + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/><text x="8" y="16" font-size="13">{escape(title)}</text>',
    ]
    for n, label in enumerate(labels):
        parts.append(f'<text x="{_LABEL - 8}" y="{_TOP + n * _LINE + 13}" text-anchor="end">{escape(label)}</text>')
    for n, (heading, rounds) in enumerate(panels.items()):
        left = _LABEL + n * (_PANEL + _GAP)
        low = floor(log10(min(map(min, rounds.values()))))
        high = floor(log10(max(map(max, rounds.values())))) + 1

        def at(value: float, left: float = left, low: int = low, high: int = high) -> float:
            return left + (log10(value) - low) / (high - low) * _PANEL

        parts.append(f'<text x="{left}" y="38" font-size="13">{escape(heading)}</text>')
        for power in range(low, high + 1):
            x = at(10**power)
            parts.append(f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{height - 12}" stroke="#dddddd"/>')
            parts.append(f'<text x="{x:.1f}" y="{_TOP - 12}" text-anchor="middle" fill="#777777">{10**power:,g}</text>')
        for row, label in enumerate(labels):
            if values := rounds.get(label):
                y, name, middle = _TOP + row * _LINE, label.split()[0], median(values)
                colour = "#d9822b" if name in highlighted else _COLOURS.get(name, _OTHER)
                first, last, digits = at(min(values)), at(max(values)), 0 if middle >= 100 else 1
                bar = f'x="{left}" y="{y + 3}" width="{at(middle) - left:.1f}" height="{_LINE - 6}" fill="{colour}"'
                span = f'x1="{first:.1f}" y1="{y + 9}" x2="{last:.1f}" y2="{y + 9}" stroke="black"'
                parts.append(f'<rect {bar}/><line {span}/><text x="{last + 5:.1f}" y="{y + 13}">{middle:,.{digits}f}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"

"""
Horizontal bars with whiskers as SVG text. That is all the plotting there is.

The page's own text colour is used, so that it can be read on light and on dark ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import attrs

from benchmarks.figures import Spread, short

_LABEL, _BAR, _VALUE = 260, 400, 150
_ROW, _THICK, _TOP = 26, 14, 44
#: By position of the subject, as far as they go; told apart by people who don't see red and green.
_COLOURS = ("#2a78d6", "#eb6834", "#1baf7a", "#8a63d2", "#7a7975")
_STYLE = "text { font: 12px system-ui, sans-serif; fill: #52514e } .title { font-size: 14px; font-weight: 600 }"
_DARK = "@media (prefers-color-scheme: dark) { text { fill: #c3c2b7 } line { stroke: #c3c2b7 } }"


@attrs.frozen
class Bar:
    """Attributes: label; spread of its value; colour: a small number, the same for the same subject."""

    label: str
    spread: Spread
    colour: int


def bars(title: str, unit: str, rows: Sequence[Bar]) -> str:
    """
    An SVG document; bars begin at zero, whiskers go from the lowest to the highest repeat.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("rows: none: at least one is needed")
    largest = max(row.spread.high for row in rows) or 1.0
    width, height = _LABEL + _BAR + _VALUE, _TOP + _ROW * len(rows) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE} line {{ stroke: #52514e }} {_DARK}</style>",
        f'<text class="title" x="4" y="18">{escape(title)} ({escape(unit)})</text>',
    ]
    for number, row in enumerate(rows):
        top = _TOP + number * _ROW
        middle = top + _THICK / 2
        low, median, high = (_BAR * value / largest for value in (row.spread.low, row.spread.median, row.spread.high))
        colour = _COLOURS[row.colour % len(_COLOURS)]
        parts += [
            f'<text x="{_LABEL - 8}" y="{middle + 4:g}" text-anchor="end">{escape(row.label)}</text>',
            f'<rect x="{_LABEL}" y="{top}" width="{max(1.0, median):.1f}" height="{_THICK}" rx="2" fill="{colour}"/>',
            f'<line x1="{_LABEL + low:.1f}" x2="{_LABEL + high:.1f}" y1="{middle:g}" y2="{middle:g}"/>',
            f'<text x="{_LABEL + high + 8:.1f}" y="{middle + 4:g}">{short(row.spread.median)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])

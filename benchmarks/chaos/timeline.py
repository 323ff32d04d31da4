"""
A run as SVG text: how long answers took, what they said the state is, and what was done to whom. Pure.

Time goes to the right; latency is on a logarithmic scale, and every column shows its median and its slowest answer.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from html import escape

import attrs

from benchmarks.chaos.answers import Asked, Phase, spans

_LEFT, _WIDTH, _RIGHT = 170, 1200, 20
_TOP, _BAND, _LANE, _DECADE = 52, 18, 15, 34
#: Decades of the scale: from 0.1 ms to 100 s.
_LOWEST, _HIGHEST = -4, 2
_STATES = {"live": "#1baf7a", "building": "#2a78d6", "stale": "#eb6834", "empty": "#7a7975"}
#: By what was done; what is not here is drawn as an order.
_KINDS = {"kill": "#d62a4b", "stop": "#eb6834", "stand": "#eb6834"}
_ORDER = "#2a78d6"
_STYLE = (
    "text { font: 11px system-ui, sans-serif; fill: #52514e } .title { font-size: 14px; font-weight: 600 } "
    ".grid { stroke: #52514e; stroke-opacity: 0.25 } .slow { stroke: #2a78d6; stroke-opacity: 0.35 } "
    ".mid { fill: #2a78d6 } .again { fill: none; stroke: #d62a4b } "
    "@media (prefers-color-scheme: dark) { text { fill: #c3c2b7 } .grid { stroke: #c3c2b7 } }"
)


#: From a moment to its place from left to right.
Across = Callable[[float], float]


@attrs.frozen
class Mark:
    """Attributes: at: when; lane: whom or what it hit; kind; text: the whole of it."""

    at: float
    lane: str
    kind: str
    text: str


def timeline(
    title: str, asked: Sequence[Asked], shown: str, phases: Sequence[Phase], marks: Sequence[Mark], lanes: Sequence[str]
) -> str:
    """
    An SVG document.

    Args:
        title: above it.
        asked: whose latencies are shown.
        shown: the asker whose answers make the band of states.
        phases: from the first one's start to the last one's end is what is shown; at least one.
        marks: what was done.
        lanes: from top to bottom; those without a mark are shown too.

    Raises:
        ValueError: no phases.
    """
    if not phases:
        raise ValueError("phases: none: at least one is needed")
    start, end = phases[0].start, phases[-1].end
    scale = _WIDTH / max(end - start, 1e-9)

    def across(moment: float) -> float:
        return _LEFT + min(max(moment - start, 0.0), end - start) * scale

    high = (_HIGHEST - _LOWEST) * _DECADE
    band, plot = _TOP, _TOP + _BAND + 8
    first_lane = plot + high + 14
    height = first_lane + _LANE * len(lanes) + 28
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}" '
        f'width="{_LEFT + _WIDTH + _RIGHT}" height="{height}" role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="4" y="18">{escape(title)}</text>',
    ]
    for phase in phases:
        left = across(phase.start)
        parts += [
            f'<line class="grid" x1="{left:.1f}" x2="{left:.1f}" y1="{_TOP - 14}" y2="{height - 24}"/>',
            f'<text x="{left + 3:.1f}" y="{_TOP - 5}">{escape(phase.name)}</text>',
        ]
    parts += _band(asked, shown, band, across)
    parts += _scale(plot)
    # While nobody is there everything fails, and would hide the rest.
    away = [phase for phase in phases if phase.away]
    there = [one for one in asked if not any(phase.start <= one.start < phase.end for phase in away)]
    parts += _latencies(there, plot, across)
    for number, lane in enumerate(lanes):
        top = first_lane + number * _LANE
        parts.append(f'<text x="{_LEFT - 8}" y="{top + 10}" text-anchor="end">{escape(lane)}</text>')
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{top + 6}" y2="{top + 6}"/>')
        parts += [
            f'<rect x="{across(mark.at) - 1:.1f}" y="{top}" width="2" height="12" '
            f'fill="{_KINDS.get(mark.kind, _ORDER)}"><title>{escape(f"{mark.at - start:.2f} s: {mark.text}")}</title>'
            "</rect>"
            for mark in marks
            if mark.lane == lane
        ]
    parts += _seconds(end - start, height, scale)
    return "\n".join([*parts, "</svg>", ""])


def _band(asked: Sequence[Asked], shown: str, top: int, across: Across) -> list[str]:
    parts = [f'<text x="{_LEFT - 8}" y="{top + 12}" text-anchor="end">state</text>']
    for state, begin, end in spans(one for one in asked if one.asker == shown):
        width = max(0.5, across(end) - across(begin))
        parts.append(
            f'<rect x="{across(begin):.1f}" y="{top}" width="{width:.1f}" height="{_BAND - 4}" '
            f'fill="{_STATES.get(state, "#000")}"><title>{escape(state)}</title></rect>'
        )
    legend = {"killed": _KINDS["kill"], "stopped": _KINDS["stop"], "anything else": _ORDER, **_STATES}
    for number, (state, colour) in enumerate(legend.items()):
        left = _LEFT + _WIDTH - 600 + number * 85
        parts.append(f'<rect x="{left}" y="8" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{left + 14}" y="17">{state}</text>')
    return parts


def _scale(top: int) -> list[str]:
    parts = []
    for power in range(_LOWEST, _HIGHEST + 1):
        y = top + (_HIGHEST - power) * _DECADE
        label = f"{10.0**power:g} s" if power >= 0 else f"{10.0 ** (power + 3):g} ms"
        parts += [
            f'<line class="grid" x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y}" y2="{y}"/>',
            f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{label}</text>',
        ]
    return parts


def _latencies(asked: Sequence[Asked], top: int, across: Across) -> list[str]:
    def down(seconds: float) -> float:
        power = min(max(math.log10(max(seconds, 1e-9)), _LOWEST), _HIGHEST)
        return top + (_HIGHEST - power) * _DECADE

    columns: dict[int, list[float]] = {}
    for one in asked:
        if one.status:
            columns.setdefault(int(across(one.start)), []).append(one.seconds)
    parts = []
    for x, seconds in sorted(columns.items()):
        middle = down(statistics.median(seconds))
        parts.append(
            f'<line class="slow" x1="{x}" x2="{x}" y1="{down(max(seconds)):.1f}" y2="{down(min(seconds)):.1f}"/>'
        )
        parts.append(f'<rect class="mid" x="{x}" y="{middle - 0.75:.1f}" width="1" height="1.5"/>')
    parts += [
        f'<circle class="again" cx="{across(one.start):.1f}" cy="{down(one.seconds):.1f}" r="2.5">'
        f"<title>{escape(f'{one.asker}: ' + ', '.join(one.failures))}</title></circle>"
        for one in asked
        if one.failures
    ]
    return parts


def _seconds(length: float, height: int, scale: float) -> list[str]:
    step = next(
        (s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600) if length / s <= 14), max(1, int(length / 10))
    )
    return [
        f'<text x="{_LEFT + second * scale:.1f}" y="{height - 8}" text-anchor="middle">{second} s</text>'
        for second in range(0, int(length) + 1, step)
    ]

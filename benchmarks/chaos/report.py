"""What is left of a run for its reader: a page with its table, and the picture. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.chaos.found import CHAOS, ROOT, Found, samples, wrong
from benchmarks.chaos.schedule import EVERYBODY
from benchmarks.chaos.timeline import timeline
from benchmarks.figures import short

#: Rows of the picture behind the processes.
_OTHERS = ("configuration", "link", "data link", "disk", "store")
#: Examples that are shown of each kind of trouble.
_SOME = 20


def picture(found: Found, title: str) -> str:
    """The timeline as SVG."""
    lanes = ["/".join(who) for who in EVERYBODY]
    return timeline(title, found.asked, ROOT, found.phases, found.marks, [*lanes, *_OTHERS])


def page(found: Found, title: str, conditions: Sequence[str], image: str) -> str:
    """Markdown: conditions, table, what was not as it must be, what was done."""
    lines = [f"# {title}", "", *(f"- {one}" for one in conditions), "", f"![{title}]({image})", ""]
    lines += ["| | | |", "|---|---|---|"]
    lines += [f"| {one.case} | {one.metric} | {short(one.value)} {one.unit} |" for one in samples(found)]
    lines += ["", "## Not as it must be", ""]
    lines += [f"- {one}" for one in wrong(found)] or ["Nothing."]
    chaos = found.tallies[CHAOS]
    examples = {
        "Ended though no worker had died": chaos.unexplained,
        "Ended because a worker was drained": chaos.drained,
        "Generations gone back": found.back,
    }
    begin = found.phases[0].start
    for heading, those in examples.items():
        if those:
            lines += ["", f"### {heading}", ""]
            lines += [f"- at {one.start - begin:.3f} s: {one}" for one in those[:_SOME]]
    if found.claims.lies:
        lines += ["", "### Claims", "", *(f"- {one}" for one in found.claims.lies[:_SOME])]
    lines += [
        "",
        "## By phase",
        "",
        "| | seconds | statuses | states | attempts that failed |",
        "|---|---|---|---|---|",
    ]
    for phase in found.phases:
        one = found.tallies[phase.name]
        cells = [_counts(counts) for counts in (one.statuses, one.states, one.attempts)]
        lines.append("| " + " | ".join([phase.name, f"{phase.end - phase.start:.1f}", *cells]) + " |")
    lines += ["", "## What was done", "", _counts(found.done), ""]
    lines += [f"    {mark.at - begin:8.2f} s  {mark.lane:24} {mark.text}" for mark in found.marks]
    return "\n".join([*lines, ""])


def _counts(counts: dict[int, int] | dict[str, int]) -> str:
    return ", ".join(f"{what} {count:,}" for what, count in sorted(counts.items(), key=lambda item: str(item[0])))

"""The figures as one HTML page: self-contained, readable without JavaScript, dark or light.

Each figure stands beside its definition; the page says at its head that all of it is simulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from watchkeeper.twin.topology import build
from watchkeeper_evals.remediation.figures import Figures
from watchkeeper_evals.remediation.night import busiest
from watchkeeper_evals.remediation.runs import ORACLE, WATCH, SeedRun
from watchkeeper_evals.remediation.setup import Setup
from watchkeeper_evals.remediation.svg import Bar, Stack, bars, stacks, timeline

CAUSES = (
    ("redo", "steps since the last checkpoint, done again after a stop"),
    ("restart", "a gang is being started again"),
    ("stopped", "a gang stands still and nobody has submitted it again"),
    ("queue", "a gang waits for nodes"),
    ("hang", "a gang holds its GPUs and makes no step"),
    ("slow", "one straggler holds a gang back"),
    ("starved", "the storage stands still or is slow"),
    ("taint", "steps on a state that was corrupt"),
    ("drain", "steps that a drain threw away"),
    ("checkpoint", "checkpoints are written, faults or none"),
)


def page(found: Figures, runs: Sequence[SeedRun], setup: Setup) -> str:
    """The whole page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    env = Environment(
        loader=PackageLoader("watchkeeper_evals.remediation", "templates"),
        autoescape=select_autoescape(("html", "j2")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["hours"] = lambda value: f"{value:,.0f}"
    env.filters["rate"] = _rate
    env.filters["seconds"] = lambda value: "–" if value is None else f"{value:,.0f} s"
    rows = _rows(found)
    return env.get_template("report.html.j2").render(
        found=found,
        rows=rows,
        ettr=_ettr_plot(rows),
        lost=_lost_plot(rows),
        night=_night_plot(runs, setup),
        causes=CAUSES,
        detail=next((row for row in rows if row[0] == WATCH), rows[-1] if rows else None),
    )


def _rate(told: dict[str, Any]) -> str:
    if told.get("rate") is None:
        return f"no rate: {told['count']} of {told['of']}"
    share = f"{told['rate']:.2%} ({told['count']} of {told['of']:,})"
    return f"{share}; 95 %: {told['low95']:.2%} to {told['high95']:.2%}"


def _rows(found: Figures) -> list[tuple[str, Figures]]:
    named = [*found["baselines"].items(), (WATCH, found[WATCH]), (ORACLE, found[ORACLE])]
    return [(name, told) for name, told in named if told is not None]


def _ettr_plot(rows: Sequence[tuple[str, Figures]]) -> str:
    drawn = []
    for name, told in rows:
        seeds = told["ettr_seeds"]
        says = f"{told['ettr']:.4f}"
        drawn.append(Bar(name, told["ettr"], says, seeds["low95"], seeds["high95"], name == WATCH))
    least = min([bar.value for bar in drawn] + [b.low for b in drawn if b.low is not None])
    begin = max(0.0, int(least * 50 - 0.5) / 50)
    return bars(
        "ETTR by controller",
        "Useful over allocated GPU-hours; the axis does not begin at zero.",
        drawn,
        begin,
        1.0,
    )


def _lost_plot(rows: Sequence[tuple[str, Figures]]) -> str:
    drawn = [
        Stack(name, tuple((c, told["lost_by_cause"].get(c, 0.0)) for c, _ in CAUSES))
        for name, told in rows
    ]
    return stacks(
        "Lost GPU-hours by cause", "All seeds together, one bar a controller.", drawn, "GPU-hours"
    )


def _night_plot(runs: Sequence[SeedRun], setup: Setup) -> dict[str, Any] | None:
    """The busiest night of the first seed, under the watch (or what was played in its place)."""
    chosen = next((r for r in runs if r.controller == WATCH), runs[-1] if runs else None)
    if chosen is None:
        return None
    spec = setup.spec(chosen.seed)
    night = busiest(chosen, spec, build(spec))
    if night is None:
        return None
    title = f"{chosen.controller}, seed {chosen.seed}, night of {night.begin:%Y-%m-%d}"
    told = "Bars: true faults, as long as they lasted. Diamonds: disruptive actions."
    return {
        "title": title,
        "left_out": night.left_out,
        "plot": timeline(title, told, night.lanes, night.ticks),
    }

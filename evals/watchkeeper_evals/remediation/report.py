"""The figures as one HTML page: self-contained, readable without JavaScript, dark or light.

Each figure stands beside its definition; the page says at its head that all of it is simulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from watchkeeper.twin.topology import build
from watchkeeper_evals.remediation.figures import Figures
from watchkeeper_evals.remediation.night import busiest
from watchkeeper_evals.remediation.runs import ORACLE, WATCH, SeedRun
from watchkeeper_evals.remediation.setup import Setup
from watchkeeper_evals.remediation.svg import Bar, Stack, bars, stacks, timeline
from watchkeeper_evals.remediation.table import seeds_said

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
)
"""What a fault or its repair costs. Checkpoints come beside: they are written, faults or none."""


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
    env.filters["lasting"] = _lasting
    env.filters["figure"] = _figure
    rows = _rows(found)
    return env.get_template("report.html.j2").render(
        found=found,
        rows=rows,
        seeds=seeds_said(found["seeds"]),
        trained=seeds_said(found["seeds_trained_on"]) if found["seeds_trained_on"] else "",
        ettr=_ettr_plot(rows, runs, found["policies"]),
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


def _lasting(seconds: float | None) -> str:
    """A duration for people."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _rows(found: Figures) -> list[tuple[str, Figures]]:
    named = [*found["baselines"].items(), (WATCH, found[WATCH]), (ORACLE, found[ORACLE])]
    return [(name, told) for name, told in named if told is not None]


def _ettr_plot(rows: Sequence[tuple[str, Figures]], runs: Sequence[SeedRun], orders: str) -> str:
    drawn = []
    for name, told in rows:
        mine = [run for run in runs if run.controller == name]
        dots = tuple((r.tally.ettr, f"{name}, seed {r.seed}: {r.tally.ettr:.4f}") for r in mine)
        seeds = told["ettr_seeds"]
        says, strong = f"{told['ettr']:.4f}", name == WATCH
        low, high = seeds["low95"], seeds["high95"]
        drawn.append(Bar(_named(name, orders), told["ettr"], says, low, high, strong, dots))
    least = min([b.low for b in drawn if b.low is not None] + [v for b in drawn for v, _ in b.dots])
    begin = max(0.0, int(least * 100 - 0.5) / 100)
    return bars(
        "ETTR by controller",
        "Useful over allocated GPU-hours; the axis does not begin at zero.",
        drawn,
        begin,
        1.0,
    )


def _named(name: str, orders: str) -> str:
    """The watch with the orders it acted under: other orders are another controller."""
    return f"{name} ({PurePath(orders).name})" if name == WATCH and orders else name


def _lost_plot(rows: Sequence[tuple[str, Figures]]) -> str:
    drawn = [
        Stack(name, tuple((c, told["lost_by_cause"].get(c, 0.0)) for c, _ in CAUSES))
        for name, told in rows
    ]
    return stacks(
        "GPU-hours lost to faults and repairs, by cause",
        "All seeds together, one bar a controller; checkpoints left out.",
        drawn,
        "GPU-hours",
    )


def _night_plot(runs: Sequence[SeedRun], setup: Setup) -> dict[str, Any] | None:
    """The busiest night of all seeds, under the watch (or what was played in its place)."""
    mine = [r for r in runs if r.controller == WATCH] or list(runs[-1:])
    nights = []
    for run in mine:
        spec = setup.spec(run.seed)
        night = busiest(run, spec, build(spec))
        if night is not None:
            nights.append((night.weight, -run.seed, run, night))
    if not nights:
        return None
    _, _, chosen, night = max(nights, key=lambda each: each[:2])
    title = f"{chosen.controller}, seed {chosen.seed}, night of {night.begin:%Y-%m-%d}"
    told = "Bars: true faults, as long as they lasted. Diamonds: disruptive actions."
    return {
        "title": title,
        "left_out": night.left_out,
        "plot": timeline(title, told, night.lanes, night.ticks),
    }

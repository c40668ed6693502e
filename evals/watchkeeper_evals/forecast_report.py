"""One forecast evaluation as an HTML page: the fan over what came, and how each model did.

Self-contained, readable without JavaScript, dark or light.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

import numpy as np

from watchkeeper.demand.series import Floats
from watchkeeper_evals.forecast_eval import LEVELS, Played
from watchkeeper_evals.remediation.svg import Bar, bars

WIDTH, HEIGHT = 900.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 12.0, 12.0, 30.0
DAYS_SHOWN = 14
BEFORE_H = 24


def page(played: Played, found: dict[str, Any], name: str) -> str:
    """The whole page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    env = Environment(
        loader=PackageLoader("watchkeeper_evals", "templates"),
        autoescape=select_autoescape(("html", "j2")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = [("watchkeeper", found), *found["baselines"].items()]
    return env.get_template("forecast.html.j2").render(
        name=name,
        found=found,
        rows=[row for row in rows if row[1]["wql"] is not None],
        fan=fan(played),
        loss=_loss(found),
        frontier=_frontier(found["frontier"], found["chosen"]["calibration"]),
        bands=_by_horizon(played),
    )


def fan(played: Played) -> str:
    """The last two weeks of the test: what came, and each day's forecast as made at 00:00."""
    shown = slice(max(0, len(played.rows) - DAYS_SHOWN), None)
    origins = played.panel.origins[played.rows[shown]]
    said, series = played.engine[shown], played.series
    first = max(0, int(origins[0]) - BEFORE_H)
    last = int(origins[-1]) + len(played.panel.steps)
    times, values = series.times[first : last + 1], series.values[first : last + 1]
    top = float(np.nanmax([np.nanmax(values), np.nanmax(said)])) * 1.05 or 1.0
    x, y = _Axis(times[0], times[-1], LEFT, WIDTH - RIGHT), _Axis(0, top, HEIGHT - BOTTOM, TOP)
    drawn = [_ruler(y, top), _days(x, times)]
    for origin, told in zip(origins, said, strict=True):
        rows = origin + played.panel.steps
        begin = (series.times[origin], np.full(len(LEVELS), series.values[origin]))
        at = np.concatenate([[begin[0]], series.times[rows]])
        levels = np.concatenate([begin[1][None], told])
        drawn.append(_band(x, y, at, levels[:, 0], levels[:, -1], "wide"))
        drawn.append(_band(x, y, at, levels[:, 1], levels[:, -2], "near"))
        drawn.append(_path(x, y, at, levels[:, len(LEVELS) // 2], "middle"))
    drawn.append(_path(x, y, times, values, "came"))
    begun = datetime.fromtimestamp(float(series.times[origins[0]]), UTC)
    title = f"Forecasts from {begun:%Y-%m-%d} on, each made at 00:00, and what came"
    return _svg(title, drawn)


class _Axis:
    def __init__(self, low: float, high: float, a: float, b: float) -> None:
        self._low, self._per, self._a = low, (b - a) / ((high - low) or 1.0), a

    def __call__(self, value: float) -> float:
        return round(self._a + self._per * (float(value) - self._low), 1)


def _points(x: _Axis, y: _Axis, at: Floats, values: Floats) -> list[str]:
    pairs = zip(at, values, strict=True)
    return [f"{x(t):g} {y(v):g}" for t, v in pairs if np.isfinite(v)]


def _path(x: _Axis, y: _Axis, at: Floats, values: Floats, kind: str) -> str:
    return f'<path class="{kind}" d="M{"L".join(_points(x, y, at, values))}"/>'


def _band(x: _Axis, y: _Axis, at: Floats, low: Floats, high: Floats, kind: str) -> str:
    around = _points(x, y, at, high) + _points(x, y, at[::-1], low[::-1])
    return f'<path class="{kind}" d="M{"L".join(around)}Z"/>'


def _ruler(y: _Axis, top: float) -> str:
    step = _round(top / 5)
    lines = [
        f'<path class="grid" d="M{LEFT:g} {y(v):g}H{WIDTH - RIGHT:g}"/>'
        f'<text class="tick" x="{LEFT - 8:g}" y="{y(v) + 4:g}" text-anchor="end">{v:g}</text>'
        for v in np.arange(0, top, step)
    ]
    return "".join(lines)


def _days(x: _Axis, times: Floats) -> str:
    midnights = times[np.abs(times % 86400) < 1]
    every = max(1, len(midnights) // 7)
    return "".join(
        f'<path class="grid" d="M{x(t):g} {TOP:g}V{HEIGHT - BOTTOM:g}"/>'
        f'<text class="tick" x="{x(t):g}" y="{HEIGHT - 10:g}" text-anchor="middle">'
        f"{datetime.fromtimestamp(float(t), UTC):%d %b}</text>"
        for t in midnights[::every]
        if x(t) < WIDTH - 30
    )


def _loss(found: dict[str, Any]) -> str:
    rows = [("watchkeeper", found), *found["baselines"].items()]
    told = [(n, t["wql"]) for n, t in rows if t["wql"] is not None]
    drawn = [Bar(n, w, f"{w:.2f} %", strong=n == "watchkeeper") for n, w in told]
    says = "Weighted quantile loss in percent; less is better."
    return bars("Loss by model", says, drawn, 0.0, 5 * _round(max(w for _, w in told) / 5))


def _round(value: float) -> float:
    """The next 1, 2, 2.5, 5 or 10 of its power of ten."""
    unit = 10.0 ** np.floor(np.log10(max(value, 1e-9)))
    return float(next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= value - 1e-12))


def _frontier(told: Sequence[dict[str, Any]], chosen: float) -> str:
    """Loss against coverage for several strengths of calibration."""
    points = [p for p in told if p["wql"] is not None]
    low = min(60.0, *(p["coverage80"] for p in points))
    high = max(95.0, *(p["coverage80"] for p in points))
    worst, best = max(p["wql"] for p in points), min(p["wql"] for p in points)
    room = max(worst - best, 0.02 * worst)
    x = _Axis(low, high, LEFT, WIDTH - RIGHT)
    y = _Axis(best - room / 2, worst + room / 2, 150.0, TOP)
    drawn = [
        f'<rect class="aim" x="{x(75):g}" y="{TOP:g}" width="{x(88) - x(75):g}" height="138"/>'
        f'<text class="tick" x="{x(75) + 6:g}" y="{TOP + 16:g}">75 to 88 % wanted</text>'
    ]
    drawn += [
        f'<text class="tick" x="{x(c):g}" y="170" text-anchor="middle">{c:g} %</text>'
        for c in range(60, 100, 5)
        if low <= c < high
    ]
    for p in points:
        kind = "dot strong" if p["calibration"] == chosen else "dot"
        says = f"calibration {p['calibration']:g}: {p['wql']:.3f} %, {p['coverage80']:.1f} % held"
        drawn.append(
            f'<circle class="{kind}" cx="{x(p["coverage80"]):g}" cy="{y(p["wql"]):g}" r="5">'
            f"<title>{says}</title></circle>"
        )
    return _svg("Loss (lower is better) against how often the 80 % band held", drawn, 180.0)


def _by_horizon(played: Played) -> list[dict[str, Any]]:
    """How often the 80 % band held, in four bands of horizons."""
    rows = []
    for band in np.array_split(np.arange(len(played.panel.steps)), 4):
        if not len(band):
            continue
        came, said = played.came[:, band], played.engine[:, band]
        known = np.isfinite(came)
        inside = (said[..., 1] <= came) & (came <= said[..., -2])
        hours = played.panel.steps[band] * played.series.step_s / 3600
        rows.append(
            {
                "hours": f"{hours[0]:g} to {hours[-1]:g} h",
                "held": float(inside[known].mean()),
                "short": float((came > said[..., -1])[known].mean()),
            }
        )
    return rows


def _svg(title: str, drawn: Sequence[str], height: float = HEIGHT) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(drawn)}</svg>"
    )

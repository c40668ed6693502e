"""Demand of one pool as a drawing: what was wanted, what is held, and the forecast's band.

Pure: numbers in, SVG out, with presentation attributes only, so that a strict page may carry it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import TypeAlias

from markupsafe import Markup

from watchkeeper.core.desk import PoolView

Point: TypeAlias = tuple[float, float]

WIDTH, HEIGHT = 416.0, 132.0
LEFT, RIGHT, TOP, BOTTOM = 30.0, 8.0, 10.0, 22.0
MAX_POINTS = 96
"""Vertices of the history line: more would be finer than a pixel, and heavier than the page."""


def demand_chart(pool: PoolView, at: datetime) -> Markup:
    """One picture on one time scale: GPUs wanted (line), running (area), in the pool (dashes),
    and 10, 50 and 90 % of the forecast. Empty when there is neither history nor forecast."""
    now = at.timestamp()
    ahead = [(now + h, low, mid, high) for h, low, mid, high in _horizons(pool)]
    past = [(t, running, running + pending) for t, running, pending in pool.history if t <= now]
    if len(past) < 2 and not ahead:
        return Markup("")
    end = ahead[-1][0] if ahead else now
    start = _start(past, now, end)
    past = _thin([p for p in past if p[0] >= start])
    top = max([pool.total_gpus, 1.0, *(p[2] for p in past), *(a[3] for a in ahead)]) * 1.08
    x, y = Scale(start, end, LEFT, WIDTH - RIGHT), Scale(0.0, top, HEIGHT - BOTTOM, TOP)
    wanted_now = pool.running_gpus + pool.pending_gpus
    parts = [
        _axis(x(now), y, pool.total_gpus),
        _area([(x(t), y(r)) for t, r, _ in past], y(0.0)),
        _band(ahead, (x(now), y(wanted_now)), x, y),
        stroked([(x(t), y(w)) for t, _, w in past], "var(--ink-2)", 1.75),
        stroked(
            [(x(now), y(wanted_now)), *((x(a[0]), y(a[2])) for a in ahead)] if ahead else [],
            "var(--act)",
            1.75,
        ),
        _times(x, start, now, end),
    ]
    return Markup(
        '<svg class="demand" viewBox="0 0 {w:g} {h:g}" role="img" aria-label="{said}">{body}</svg>'
    ).format(w=WIDTH, h=HEIGHT, said=say_demand(pool), body=Markup("").join(parts))


def say_demand(pool: PoolView) -> str:
    """The drawing in words: the same facts for whoever does not see it."""
    wanted = pool.running_gpus + pool.pending_gpus
    text = f"{pool.pool}: {wanted:g} GPUs wanted now, {pool.total_gpus:g} in the pool."
    for horizon, low, middle, high in _horizons(pool):
        text += f" In {_ago(horizon)}: {middle:g}, 80 % between {low:g} and {high:g}."
    return text


def _horizons(pool: PoolView) -> list[tuple[float, float, float, float]]:
    """(seconds ahead, 10 %, 50 %, 90 %), nearest first; [] where a quantile is missing."""
    count = len(pool.horizons_s)
    if not count or not all(len(q) == count for q in (pool.p10, pool.p50, pool.p90)):
        return []
    return sorted(zip(pool.horizons_s, pool.p10, pool.p50, pool.p90, strict=True))


def _start(past: Sequence[tuple[float, ...]], now: float, end: float) -> float:
    """As much of the past as is known, but no more than twice what lies ahead."""
    if not past:
        return now
    ahead = end - now
    return max(past[0][0], now - 2 * ahead) if ahead > 0 else past[0][0]


def _thin(past: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """At most MAX_POINTS; of each stretch the moment of highest demand, and always the last."""
    if len(past) <= MAX_POINTS:
        return past
    step = len(past) / MAX_POINTS
    cuts = [round(i * step) for i in range(MAX_POINTS + 1)]
    peaks = [max(past[a:b], key=lambda p: p[2]) for a, b in pairwise(cuts)]
    return peaks if peaks[-1] is past[-1] else [*peaks[:-1], past[-1]]


class Scale:
    """A line from one range to another; a range of no width maps to its end."""

    def __init__(self, lo: float, hi: float, a: float, b: float) -> None:
        self._lo, self._width, self._a, self._b = lo, hi - lo, a, b

    def __call__(self, value: float) -> float:
        if self._width <= 0:
            return self._b
        return round(self._a + (self._b - self._a) * (value - self._lo) / self._width, 1)


def path_of(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{px:g} {py:g}" for px, py in points)


def stroked(points: Sequence[Point], colour: str, width: float) -> Markup:
    if len(points) < 2:
        return Markup("")
    return Markup('<path d="{}" fill="none" stroke="{}" stroke-width="{}"/>').format(
        path_of(points), colour, width
    )


def _area(points: Sequence[Point], floor: float) -> Markup:
    if len(points) < 2:
        return Markup("")
    closed = f"{path_of(points)}L{points[-1][0]:g} {floor:g}L{points[0][0]:g} {floor:g}Z"
    return Markup('<path d="{}" fill="var(--gpu-1)"/>').format(closed)


def _band(
    ahead: Sequence[tuple[float, float, float, float]], origin: Point, x: Scale, y: Scale
) -> Markup:
    if not ahead:
        return Markup("")
    upper = [origin, *((x(t), y(high)) for t, _, _, high in ahead)]
    lower = [(x(t), y(low)) for t, low, _, _ in reversed(ahead)]
    return Markup('<path d="{}Z" fill="var(--act)" fill-opacity=".22"/>').format(
        path_of([*upper, *lower])
    )


def _axis(now_x: float, y: Scale, total: float) -> Markup:
    base, cap = y(0.0), y(total)
    return Markup(
        '<path d="M{l:g} {b:g}H{r:g}" stroke="var(--line)"/>'
        '<path d="M{l:g} {c:g}H{r:g}" stroke="var(--edge)" stroke-dasharray="2 3"/>'
        '<path d="M{n:g} {t:g}V{b:g}" stroke="var(--edge)"/>'
        '<text x="{e:g}" y="{b:g}" text-anchor="end">0</text>'
        '<text x="{e:g}" y="{cy:g}" text-anchor="end">{total:g}</text>'
    ).format(l=LEFT, r=WIDTH - RIGHT, b=base, c=cap, n=now_x, t=TOP - 4, e=LEFT - 6,
             cy=cap + 4, total=total)  # fmt: skip


def _times(x: Scale, start: float, now: float, end: float) -> Markup:
    """Labels below the axis; one that would run into `now` is left out."""
    y, here = HEIGHT - 6, x(now)
    texts = [Markup('<text x="{:g}" y="{:g}" text-anchor="{}">now</text>').format(
        here, y, "middle" if LEFT + 14 < here < WIDTH - RIGHT - 14 else "end" if here > LEFT + 14
        else "start")]  # fmt: skip
    if now - start > 0 and here - LEFT > 60:
        texts.append(
            Markup('<text x="{:g}" y="{:g}">{} ago</text>').format(LEFT, y, _ago(now - start))
        )
    if end - now > 0 and WIDTH - RIGHT - here > 60:
        texts.append(
            Markup('<text x="{:g}" y="{:g}" text-anchor="end">in {}</text>').format(
                WIDTH - RIGHT, y, _ago(end - now)
            )
        )
    return Markup("").join(texts)


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"

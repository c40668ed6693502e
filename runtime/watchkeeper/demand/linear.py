"""Ridge regression, one for each horizon, on change from the last value.

Strong shrinkage keeps it near persistence while history is short. Its quantiles are those of its
own residuals over the trailing 8 weeks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from watchkeeper.demand.member import quantiles
from watchkeeper.demand.past import Ints, Past
from watchkeeper.demand.series import Floats

RESIDUALS_S = 56 * 86400.0


@dataclass(frozen=True)
class Ridge:
    """shrink: the penalty, in training rows. wide: residuals of the training rows are too small
    for rows to come; they are widened by this. Both were chosen on the first 60 % of one trace."""

    shrink: float = 1000.0
    wide: float = 1.04
    name: str = "ridge"
    needs_s: float = 7 * 86400.0
    refit_s: float = 2 * 86400.0

    def fit(self, past: Past, until: int, steps: Sequence[int], levels: Floats) -> _Lines:
        begin = int(np.argmax(~np.isnan(past.base)))
        lines = []
        for h in steps:
            rows = np.arange(begin, until - h)
            rows = rows[~np.isnan(past.values[rows + h])]
            lines.append(self._line(past, rows, h, until, levels))
        return _Lines(tuple(steps), tuple(lines))

    def _line(self, past: Past, rows: Ints, h: int, until: int, levels: Floats) -> _Line:
        x = _columns(past, rows, h)
        y = (past.values[rows + h] - past.base[rows]) / np.sqrt(h)
        known = ~np.isnan(x)
        count = np.maximum(known.sum(axis=0), 1)
        held = np.where(known, x, 0.0)
        centre = held.sum(axis=0) / count
        scale = np.sqrt(np.where(known, (x - centre) ** 2, 0.0).sum(axis=0) / count)
        scale[scale < 1e-9] = np.inf
        z = np.where(known, (x - centre) / scale, 0.0)
        middle = float(y.mean()) if len(y) else 0.0
        inner = z.T @ z + self.shrink * np.eye(z.shape[1])
        weights = np.linalg.solve(inner, z.T @ (y - middle))
        rest = y - middle - z @ weights
        recent = rest[rows >= until - RESIDUALS_S / past.series.step_s]
        around = quantiles(recent, levels) if len(recent) else np.zeros(len(levels))
        return _Line(centre, scale, weights, middle, around * self.wide)


@dataclass(frozen=True, eq=False)
class _Line:
    centre: Floats
    scale: Floats
    weights: Floats
    middle: float
    around: Floats


@dataclass(frozen=True, eq=False)
class _Lines:
    steps: tuple[int, ...]
    lines: tuple[_Line, ...]

    def at(self, past: Past, origins: Ints) -> Floats:
        out = []
        for h, line in zip(self.steps, self.lines, strict=True):
            z = (_columns(past, origins, h) - line.centre) / line.scale
            change = line.middle + np.where(np.isnan(z), 0.0, z) @ line.weights
            wide = np.sqrt(h) * (change[:, None] + line.around)
            out.append(past.base[origins][:, None] + wide)
        return np.stack(out, axis=1)


def _columns(past: Past, rows: Ints, h: int) -> Floats:
    """The common features, with the clock as waves and days: a line cannot bend by itself."""
    x = past.features(rows, np.full(len(rows), h))
    hour, day, hour_now = x[:, -4], x[:, -3], x[:, -2]
    waves = [
        wave(2 * np.pi * k * clock / 24)
        for clock in (hour, hour_now)
        for wave in (np.sin, np.cos)
        for k in (1, 2)
    ]
    days = [(day == d).astype(np.float64) for d in range(6)]
    return np.column_stack([x[:, 1:-4], *waves, *days])

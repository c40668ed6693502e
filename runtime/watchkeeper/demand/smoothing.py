"""Exponential smoothing: level, damped trend and daily season, additive (Holt-Winters).

A bank of settings runs over the whole history once; the one whose own forecasts were nearest in
the last 8 weeks speaks, with the quantiles of its own errors. No optimiser, so it cannot fail.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from watchkeeper.demand.member import FEWEST, quantiles, spread
from watchkeeper.demand.past import Ints, Past
from watchkeeper.demand.series import Floats

ERRORS_S = 56 * 86400.0

BANK: tuple[tuple[float, float, float, float], ...] = tuple(
    (level, trend, damp, season)
    for level, (trend, damp), season in itertools.product(
        (0.2, 0.5, 0.8, 1.0), ((0.0, 0.0), (0.05, 0.9)), (0.03, 0.1, 0.3)
    )
)
"""(level, trend, damping, season): how fast each part learns."""


@dataclass(frozen=True)
class Smoothing:
    """Additive exponential smoothing with a daily season."""

    name: str = "exponential_smoothing"
    needs_s: float = 4 * 86400.0
    refit_s: float = 2 * 86400.0

    def fit(self, past: Past, until: int, steps: Sequence[int], levels: Floats) -> _Smooth:
        bank = states(past)
        first = max(2 * past.day, int(until - ERRORS_S / past.series.step_s))
        told = [max(1, round(share * max(steps))) for share in (0.05, 0.25, 0.5, 1.0)]
        loss = np.zeros(len(BANK))
        for h in sorted(set(told)):
            rows = np.arange(first, until - h)
            miss = np.abs(past.values[rows + h, None] - bank.ahead(rows, h)) / np.sqrt(h)
            loss += np.nansum(miss, axis=0)
        best = int(np.argmin(loss))
        around = []
        for h in steps:
            rows = np.arange(first, until - h)
            miss = past.values[rows + h] - bank.ahead(rows, h)[:, best]
            miss = miss[~np.isnan(miss)]
            enough = len(miss) >= FEWEST
            around.append(
                quantiles(miss, levels) if enough else spread(past.values[:until], h, levels)
            )
        return _Smooth(best, tuple(steps), np.stack(around))


@dataclass(frozen=True, eq=False)
class _Smooth:
    best: int
    steps: tuple[int, ...]
    around: Floats

    def at(self, past: Past, origins: Ints) -> Floats:
        bank = states(past)
        middle = np.stack([bank.ahead(origins, h)[:, self.best] for h in self.steps], axis=1)
        return middle[:, :, None] + self.around


@dataclass(frozen=True, eq=False)
class States:
    """Level and trend f8[rows, bank] and season f8[rows, bank, phase] after each row."""

    level: Floats
    trend: Floats
    season: Floats
    damp: Floats
    day: int

    def ahead(self, rows: Ints, h: int) -> Floats:
        """The point forecast of each setting, h steps after each row: f8[rows, bank]."""
        damped = sum((self.damp**k for k in range(1, h + 1)), np.zeros_like(self.damp))
        season = self.season[rows, :, (rows + h) % self.day]
        return np.asarray(self.level[rows] + damped * self.trend[rows] + season)


def states(past: Past) -> States:
    """The bank run over the whole past; kept with it. Row i knows nothing after row i."""
    kept = past.kept.get("smoothing")
    if not isinstance(kept, States):
        kept = past.kept["smoothing"] = _run(past.filled, past.day)
    return kept


def _run(filled: Floats, day: int) -> States:
    fast, steady, damp, yearly = (np.array(column) for column in zip(*BANK, strict=True))
    count = len(BANK)
    begin = filled[~np.isnan(filled)]
    level = np.full(count, begin[0] if len(begin) else 0.0)
    trend, season = np.zeros(count), np.zeros((count, day))
    levels = np.empty((len(filled), count))
    trends, seasons = np.empty_like(levels), np.empty((len(filled), count, day))
    for i, value in enumerate(filled):
        if value == value:  # NaN stays as it was
            phase = i % day
            expected = level + damp * trend
            now = season[:, phase]
            moved = expected + fast * (value - now - expected)
            trend = damp * trend + steady * (moved - expected)
            season[:, phase] = now + yearly * (value - moved - now)
            level = moved
        levels[i], trends[i], seasons[i] = level, trend, season
    return States(levels, trends, seasons, damp, day)

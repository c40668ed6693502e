"""What a model may look at: one series, prepared once, asked at many moments of its own past.

Every column at row i is made of values at or before i. So a model that is asked at an origin sees
nothing after it, though one table serves all origins.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from watchkeeper.demand.series import Floats, Series, carried

Ints = NDArray[np.int64]

LAGS_H = (1, 2, 3, 6, 12, 24, 48, 168)
DAYS_BACK = 14
"""So many days are looked back on for what the same hours did."""


class Past:
    """A series as columns. `hour`, `day`: steps of the grid in an hour and in a day."""

    def __init__(self, series: Series) -> None:
        self.series = series
        self.values = series.values
        self.filled = carried(series.values)
        self.base = np.where(np.isnan(series.tail), self.filled, series.tail)
        self.hour = 3600.0 / series.step_s
        self.day = round(24 * self.hour)
        self.kept: dict[str, object] = {}

    def __len__(self) -> int:
        return len(self.values)

    def ago(self, index: Ints) -> Floats:
        """The filled value at each index; NaN before the first."""
        return np.where(index >= 0, self.filled[np.maximum(index, 0)], np.nan)

    def features(self, origin: Ints, ahead: Ints) -> Floats:
        """f8[n, k]: one row for each origin (row of the last known step) and steps ahead.
        The last four columns are the clock: hour and day then, hour and day now."""
        return np.concatenate(
            [ahead[:, None], self._known[origin], self._same_hours(origin, ahead)], axis=1
        )

    def clock(self, row: Ints) -> tuple[Floats, Floats]:
        """(hour of the day, day of the week) at rows that may lie ahead, UTC. Epoch day 0 was a
        Thursday: only the likeness of days matters here, not their names."""
        then = self.series.times[0] + row * self.series.step_s - self.series.step_s / 2
        return then / 3600 % 24 // 1, then / 86400 // 1 % 7

    @cached_property
    def _known(self) -> Floats:
        """Columns that do not depend on how far ahead is asked: the level and how it came."""
        rows = np.arange(len(self))
        base, day = self.base, self.day
        columns = [base]
        columns += [base - self.ago(rows - round(lag * self.hour)) for lag in LAGS_H]
        columns.append(base - self.filled)
        for window in (day, 7 * day):
            mean, spread = _rolling(self.filled, window)
            columns += [mean - base, spread]
        columns += [_extreme(self.filled, day, np.min) - base]
        columns += [_extreme(self.filled, day, np.max) - base]
        return np.stack(columns, axis=1)

    def _same_hours(self, origin: Ints, ahead: Ints) -> Floats:
        """What those hours were on days before, and how much changed over the same hours then."""
        base, day, week = self.base[origin], self.day, 7 * self.day
        columns = []
        for season in (day, week):
            then = origin + ahead - season * -(-ahead // season)
            columns += [self.ago(then) - base, self.ago(then - season) - base]
        back = day * -(-ahead // day)
        days = day * np.arange(DAYS_BACK)[:, None]
        level = self.ago(origin + ahead - back - days)
        change = level - self.ago(origin - back - days)
        columns += [change[0], *(_mean(change[:k]) for k in (4, 7, DAYS_BACK))]
        columns += [_mean(change[6::7]), _mean(level[:4]) - base, _mean(level[:7]) - base]
        columns += [*self.clock(origin + ahead), *self.clock(origin)]
        return np.stack(columns, axis=1)


def _mean(rows: Floats) -> Floats:
    """The mean over the first axis of what is known; NaN where nothing is."""
    known = ~np.isnan(rows)
    count = known.sum(axis=0)
    total = np.where(known, rows, 0.0).sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full(rows.shape[1], np.nan), where=count > 0)
    return mean


def _rolling(values: Floats, window: int) -> tuple[Floats, Floats]:
    """Mean and standard deviation over the last `window` values; fewer at the beginning."""
    known = ~np.isnan(values)
    held = np.where(known, values, 0.0)
    count = np.maximum(_sums(known.astype(np.float64), window), 1.0)
    mean = _sums(held, window) / count
    square = _sums(held * held, window) / count
    return mean, np.sqrt(np.maximum(square - mean * mean, 0.0))


def _sums(values: Floats, window: int) -> Floats:
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    sums: Floats = total[end] - total[np.maximum(end - window, 0)]
    return sums


def _extreme(values: Floats, window: int, of: Callable[..., Any]) -> Floats:
    padded = np.concatenate([np.full(window - 1, values[0]), values])
    return np.asarray(of(sliding_window_view(padded, window), axis=1))

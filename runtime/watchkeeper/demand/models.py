"""Three ways to see demand ahead, from the plainest up: persistence, seasonal naive, boosting.

Each is fitted on a series and asked for quantiles at steps ahead of the series' end; none sees
anything after it. The only door to scikit-learn, which is imported when boosting is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from watchkeeper.demand.series import Floats, Series, carried

RESIDUAL_WINDOW_S = 56 * 86400.0
"""Residuals of the trailing 8 weeks give the naive models their quantiles."""

FEWEST_RESIDUALS = 5
"""With fewer at a horizon, those of the longest horizon that has enough are widened by sqrt."""


class Fitted(Protocol):
    """A model that has seen a history."""

    def predict(self, series: Series, steps: Sequence[int], levels: Sequence[float]) -> Floats:
        """Demand f8[len(steps), len(levels)] in GPUs, ahead of the series' end."""
        ...


class Model(Protocol):
    """A way to forecast."""

    @property
    def name(self) -> str: ...

    def fit(self, series: Series, steps: Sequence[int], levels: Sequence[float]) -> Fitted: ...


def tidy(values: Floats, ceiling: float) -> Floats:
    """Quantiles that do not cross, are not below zero and not above what is justified."""
    return np.clip(np.sort(values, axis=1), 0.0, ceiling)


@dataclass(frozen=True)
class Persistence:
    """What is wanted now will be wanted then, give or take what it changed by before."""

    name: str = "persistence"

    def fit(
        self,
        series: Series,  # noqa: ARG002
        steps: Sequence[int],  # noqa: ARG002
        levels: Sequence[float],  # noqa: ARG002
    ) -> Fitted:
        return self

    def predict(self, series: Series, steps: Sequence[int], levels: Sequence[float]) -> Floats:
        recent = _recent(series)
        now = carried(series.values)[-1]
        return np.array([now + _spread(recent, h, levels) for h in steps])


@dataclass(frozen=True)
class SeasonalNaive:
    """What was wanted at the same hour a season ago, give or take. season_s: 24 h or 168 h."""

    season_s: float

    @property
    def name(self) -> str:
        return f"seasonal_naive_{self.season_s / 3600:g}h"

    def fit(
        self,
        series: Series,  # noqa: ARG002
        steps: Sequence[int],  # noqa: ARG002
        levels: Sequence[float],  # noqa: ARG002
    ) -> Fitted:
        return self

    def predict(self, series: Series, steps: Sequence[int], levels: Sequence[float]) -> Floats:
        season = round(self.season_s / series.step_s)
        filled = carried(series.values)
        recent = _recent(series)
        rows = []
        for h in steps:
            back = season * -(-h // season)
            then = len(filled) - 1 + h - back
            base = filled[then] if then >= 0 else np.nan
            if np.isnan(base):
                base = filled[-1]
            rows.append(base + _spread(recent, back, levels))
        return np.array(rows)


@dataclass(frozen=True)
class GradientBoosting:
    """Boosted trees, one per quantile, over lags, same-hour values and the calendar.

    Direct: the horizon is a feature. The target is the change from the last value divided by the
    square root of the horizon, which keeps near and far horizons on one scale. seed: handed in,
    so that the same series gives the same forecast. rows: most training rows, newest kept.
    """

    seed: int
    rows: int = 12_000
    trees: int = 80
    name: str = "gradient_boosting"

    def fit(self, series: Series, steps: Sequence[int], levels: Sequence[float]) -> Fitted:
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        filled = carried(series.values)
        x, base, wide, actual = _training(series, filled, steps, self.rows)
        target = (actual - base) / wide
        # A lag longer than the history is a column of nothing, which scikit-learn cannot bin.
        known: NDArray[np.bool_] = np.logical_not(np.isnan(x).all(axis=0))
        trees: dict[float, Any] = {}
        with threadpool_limits(limits=1):  # the watch's own turn comes first
            for level in levels:
                trees[level] = HistGradientBoostingRegressor(
                    loss="quantile",
                    quantile=level,
                    max_iter=self.trees,
                    learning_rate=0.06,
                    max_leaf_nodes=12,
                    min_samples_leaf=20,
                    max_features=0.6,
                    early_stopping=False,
                    random_state=self.seed,
                ).fit(x[:, known], target)
        return _Boosted(trees, known)


@dataclass(frozen=True)
class _Boosted:
    trees: dict[float, Any]
    known: NDArray[np.bool_]

    def predict(self, series: Series, steps: Sequence[int], levels: Sequence[float]) -> Floats:
        filled = carried(series.values)
        end = np.full(len(steps), len(filled) - 1)
        ahead = np.asarray(steps)
        x = _features(series, filled, end, ahead)[:, self.known]
        change = np.stack([self.trees[level].predict(x) for level in levels], axis=1)
        ahead_of_now: Floats = filled[-1] + change * np.sqrt(ahead)[:, None]
        return ahead_of_now


def _recent(series: Series) -> Floats:
    return series.values[-int(RESIDUAL_WINDOW_S / series.step_s) :]


def _spread(values: Floats, steps: int, levels: Sequence[float]) -> Floats:
    """Quantiles of how much the series changed over so many steps; zeros when it never did."""
    enough = min(steps, len(values) - FEWEST_RESIDUALS)
    for h in range(enough, 0, -1):
        changes = values[h:] - values[:-h]
        changes = changes[~np.isnan(changes)]
        if len(changes) >= FEWEST_RESIDUALS:
            return np.asarray(np.quantile(changes, levels) * np.sqrt(steps / h))
    return np.zeros(len(levels))


def _training(
    series: Series, filled: Floats, steps: Sequence[int], rows: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Features, base value, sqrt(horizon) and what came, for past origins; newest rows kept."""
    origins, ahead = np.meshgrid(np.arange(len(filled)), np.asarray(steps), indexing="ij")
    origin, h = origins.ravel(), ahead.ravel()
    inside = origin + h < len(filled)
    origin, h = origin[inside], h[inside]
    actual = series.values[origin + h]
    usable = ~np.isnan(actual) & ~np.isnan(filled[origin])
    origin, h, actual = origin[usable][-rows:], h[usable][-rows:], actual[usable][-rows:]
    return _features(series, filled, origin, h), filled[origin], np.sqrt(h), actual


def _features(
    series: Series, filled: Floats, origin: NDArray[np.int64], ahead: NDArray[np.int64]
) -> Floats:
    """One row per (origin, steps ahead); only values at or before the origin are read."""
    hour = 3600.0 / series.step_s
    day = round(24 * hour)
    base = filled[origin]
    columns = [ahead.astype(np.float64), base]
    lags = (1, 2, 3, 6, 12, 24, 48, 168)
    columns += [base - _at(filled, origin - round(lag * hour)) for lag in lags]
    for season in (day, 7 * day):
        back = season * -(-ahead // season)
        columns.append(_at(filled, origin + ahead - back) - base)
        columns.append(_at(filled, origin + ahead - back - season) - base)
    columns += [_rolling_mean(filled, window)[origin] - base for window in (day, 7 * day)]
    # Epoch day 0 was a Thursday; only likeness of days matters to the trees, not their names.
    then = series.times[origin] + ahead * series.step_s
    columns += [then / 3600 % 24, np.floor(then / 86400) % 7]
    return np.stack(columns, axis=1)


def _at(values: Floats, index: NDArray[np.int64]) -> Floats:
    return np.where(index >= 0, values[np.maximum(index, 0)], np.nan)


def _rolling_mean(values: Floats, window: int) -> Floats:
    known = ~np.isnan(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    end = np.arange(1, len(values) + 1)
    begin = np.maximum(end - window, 0)
    out = np.full(len(values), np.nan)
    count = counts[end] - counts[begin]
    np.divide(sums[end] - sums[begin], count, out=out, where=count > 0)
    return out

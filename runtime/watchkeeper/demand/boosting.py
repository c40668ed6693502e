"""Gradient boosting, one model for each quantile, over lags, same-hour values and the calendar.

Direct: the horizon is a feature. A door to scikit-learn, imported when it is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watchkeeper.demand.past import Ints, Past
from watchkeeper.demand.rows import asked, training
from watchkeeper.demand.series import Floats


@dataclass(frozen=True)
class GradientBoosting:
    """seed: handed in, so that the same series gives the same forecast."""

    seed: int
    trees: int = 100
    per_origin: int = 3
    name: str = "gradient_boosting"
    needs_s: float = 35 * 86400.0
    refit_s: float = 14 * 86400.0

    def fit(self, past: Past, until: int, steps: Sequence[int], levels: Floats) -> _Boosted:
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        x, y = training(past, until, steps, self.per_origin, self.seed)
        # A lag longer than the history is a column of nothing, which scikit-learn cannot bin.
        known: NDArray[np.bool_] = np.logical_not(np.isnan(x).all(axis=0))
        with threadpool_limits(limits=1):  # the watch's own turn comes first
            trees = [
                HistGradientBoostingRegressor(
                    loss="quantile",
                    quantile=float(level),
                    max_iter=self.trees,
                    learning_rate=0.05,
                    max_leaf_nodes=8,
                    min_samples_leaf=40,
                    max_features=0.3,
                    early_stopping=False,
                    random_state=self.seed,
                ).fit(x[:, known], y)
                for level in levels
            ]
        return _Boosted(tuple(trees), known, tuple(steps))


@dataclass(frozen=True, eq=False)
class _Boosted:
    trees: tuple[Any, ...]
    known: NDArray[np.bool_]
    steps: tuple[int, ...]

    def at(self, past: Past, origins: Ints) -> Floats:
        origin, ahead = asked(origins, self.steps)
        x = past.features(origin, ahead)[:, self.known]
        change = np.stack([tree.predict(x) for tree in self.trees], axis=1)
        said: Floats = past.base[origin][:, None] + change * np.sqrt(ahead)[:, None]
        return said.reshape(len(origins), len(self.steps), len(self.trees))

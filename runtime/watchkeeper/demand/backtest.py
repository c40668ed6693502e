"""How well would a model have done here? Rolling origins; nothing after an origin is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from watchkeeper.demand.models import Fitted, Model, tidy
from watchkeeper.demand.series import Floats, Series


@dataclass(frozen=True, slots=True)
class Score:
    """wql: weighted quantile loss, a fraction (0.03 is 3 %), mean over the levels. coverage80:
    share of what came that lay between the 0.1 and 0.9 quantile. origins: how many were tried;
    0 means that nothing could be scored, and wql is then infinite."""

    model: str
    wql: float
    coverage80: float
    origins: int


def until(series: Series, count: int) -> Series:
    """The first `count` steps, as they stood then."""
    return Series(
        times=series.times[:count],
        values=series.values[:count],
        step_s=series.step_s,
        history_s=series.history_s - (len(series.values) - count) * series.step_s,
        last_s=0.0,
    )


def origins_of(series: Series, steps: Sequence[int], every: int, most: int) -> list[int]:
    """Series lengths to forecast from: the last 40 %, newest `most`, evenly spaced, oldest first.
    `every` is best chosen so that origins fall on different hours of the day."""
    newest = len(series.values) - max(steps)
    oldest = max(int(0.6 * len(series.values)), 2)
    return list(range(newest, oldest - 1, -every))[:most][::-1]


def backtest(
    model: Model,
    series: Series,
    steps: Sequence[int],
    levels: Sequence[float],
    *,
    origins: Sequence[int],
    refit_every: int,
) -> Score:
    """Score one model over the origins (series lengths, oldest first). A model is fitted anew
    when `refit_every` steps have passed since its last fit."""
    fitted: Fitted | None = None
    fitted_at = 0
    losses, weights, hits, seen = 0.0, 0.0, 0, 0
    for count in origins:
        known = until(series, count)
        if fitted is None or count - fitted_at >= refit_every:
            fitted, fitted_at = model.fit(known, steps, levels), count
        said = tidy(fitted.predict(known, steps, levels), np.inf)
        came = series.values[count - 1 + np.asarray(steps)]
        usable = ~np.isnan(came) & ~np.isnan(said).any(axis=1)
        came, said = came[usable], said[usable]
        losses += float(pinball(came, said, levels).mean(axis=1).sum())
        weights += float(np.abs(came).sum())
        low, high = said[:, levels.index(0.1)], said[:, levels.index(0.9)]
        hits += int(((low <= came) & (came <= high)).sum())
        seen += len(came)
    if not seen or weights == 0:
        return Score(model.name, float("inf"), 0.0, 0)
    return Score(model.name, 2 * losses / weights, hits / seen, len(origins))


def pinball(came: Floats, said: Floats, levels: Sequence[float]) -> Floats:
    """Quantile loss f8[n, levels], in GPUs."""
    miss = came[:, None] - said
    q = np.asarray(levels)
    return np.maximum(q * miss, (q - 1) * miss)

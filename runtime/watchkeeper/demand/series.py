"""Irregular readings of demand as a regular grid that ends now. A gap is NaN, never zero.

Asked by `choose` and by the evaluation; pure numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.errors import Malformed

Floats = NDArray[np.float64]

Samples = Sequence[tuple[float, float, float]]
"""(epoch seconds, running GPUs, pending GPUs), in any order."""


@dataclass(frozen=True, eq=False, slots=True)
class Series:
    """Demand in GPUs (running + pending) on a regular grid.

    values[i] is the mean over the step that ends at `times[i]` (epoch seconds), NaN where nothing
    was read. tail[i] is the mean over the last sixth of that step: the level as it stood at the
    end, where readings are as fine as that. history_s: from the first reading to the last moment
    of the grid. last_s: age of the newest reading, in seconds; infinite when there is none.
    """

    times: Floats
    values: Floats
    step_s: float
    history_s: float
    last_s: float
    tail: Floats

    @property
    def known(self) -> float:
        """Share of the grid that was read at all, 0 to 1."""
        return float(np.mean(~np.isnan(self.values))) if len(self.values) else 0.0


def grid(samples: Samples, at_s: float, step_s: float) -> Series:
    """The mean demand of each step up to `at_s`; readings after it are not looked at.

    Raises Malformed for a reading that is not three finite numbers or is below zero.
    """
    table = (
        np.asarray(samples, dtype=np.float64).reshape(-1, 3) if len(samples) else np.empty((0, 3))
    )
    table = table[table[:, 0] <= at_s]
    if not np.isfinite(table).all() or (table[:, 1:] < 0).any():
        raise Malformed("a demand reading is not a time and two GPU counts of at least zero")
    if not len(table):
        nothing = np.empty(0)
        return Series(nothing, nothing, step_s, 0.0, float("inf"), nothing)
    history = at_s - float(table[:, 0].min())
    begin = at_s - step_s * (int(history // step_s) + 1)
    made = on_grid(table[:, 0], table[:, 1] + table[:, 2], begin, at_s, step_s)
    return replace(made, history_s=history)


def begun(series: Series) -> Series:
    """Without the steps before anything was first wanted: idle time before teaches nothing of the
    demand that came, and is no history of it. As it is where nothing ever was wanted."""
    wanted = np.flatnonzero(series.values > 0)  # NaN is not
    if not len(wanted) or wanted[0] == 0:
        return series
    first = int(wanted[0])
    return replace(
        series,
        times=series.times[first:],
        values=series.values[first:],
        tail=series.tail[first:],
        history_s=series.history_s - first * series.step_s,
    )


def on_grid(at: Floats, wanted: Floats, begin: float, end: float, step_s: float) -> Series:
    """Means of the readings (epoch seconds, value) over whole steps from `begin` to `end`."""
    count = round((end - begin) / step_s)
    # Counted backwards from the end, so that the newest step is whole and ends there.
    age = (end - at) / step_s
    row = np.maximum(count - 1 - np.floor(age).astype(np.int64), 0)
    late = age % 1.0 < 1 / 6 + 1e-9
    return Series(
        times=end - step_s * np.arange(count - 1, -1, -1, dtype=np.float64),
        values=_means(row, wanted, count),
        step_s=step_s,
        history_s=end - begin,
        last_s=end - float(at.max()),
        tail=_means(row[late], wanted[late], count),
    )


def _means(row: NDArray[np.int64], values: Floats, count: int) -> Floats:
    """The mean of each row's values; NaN for a row without one."""
    sums = np.bincount(row, weights=values, minlength=count)
    counts = np.bincount(row, minlength=count)
    means = np.full(count, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def carried(values: Floats) -> Floats:
    """Each gap filled with the last value before it; NaN stays where nothing came before."""
    rows = np.where(np.isnan(values), -1, np.arange(len(values)))
    last = np.maximum.accumulate(rows) if len(rows) else rows
    return np.where(last >= 0, values[last], np.nan)

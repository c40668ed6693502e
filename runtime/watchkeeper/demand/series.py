"""Irregular readings of demand as a regular grid that ends now. A gap is NaN, never zero.

Asked by `choose` and by the evaluation; pure numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    was read. history_s: from the first reading to the last moment of the grid. last_s: age of the
    newest reading, in seconds; infinite when there is none.
    """

    times: Floats
    values: Floats
    step_s: float
    history_s: float
    last_s: float

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
        return Series(np.empty(0), np.empty(0), step_s, 0.0, float("inf"))
    history = at_s - float(table[:, 0].min())
    count = int(history // step_s) + 1
    # Counted backwards from now, so that the newest step is whole and ends now.
    age = np.floor((at_s - table[:, 0]) / step_s).astype(np.int64)
    row = count - 1 - age
    sums = np.bincount(row, weights=table[:, 1] + table[:, 2], minlength=count)
    counts = np.bincount(row, minlength=count)
    values = np.full(count, np.nan)
    np.divide(sums, counts, out=values, where=counts > 0)
    times = at_s - step_s * np.arange(count - 1, -1, -1, dtype=np.float64)
    return Series(times, values, step_s, history, at_s - float(table[:, 0].max()))


def carried(values: Floats) -> Floats:
    """Each gap filled with the last value before it; NaN stays where nothing came before."""
    rows = np.where(np.isnan(values), -1, np.arange(len(values)))
    last = np.maximum.accumulate(rows) if len(rows) else rows
    return np.where(last >= 0, values[last], np.nan)

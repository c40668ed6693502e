"""GPUs that are known to be wanted for a time: out of the past, into the hours ahead.

A reservation of the past is not a habit, and one of tomorrow cannot be learned from the past.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from watchkeeper.demand.series import Floats, Series


@dataclass(frozen=True, slots=True)
class Reservation:
    """So many GPUs from begin_s to end_s (epoch seconds). gpus is what was or will be in use."""

    begin_s: float
    end_s: float
    gpus: float


def without(series: Series, reservations: Sequence[Reservation]) -> Series:
    """The series less what was reserved then; never below zero."""
    if not reservations or not len(series.values):
        return series
    taken = _over(reservations, series.times - series.step_s, series.times)
    late = _over(reservations, series.times - series.step_s / 6, series.times)
    return replace(
        series,
        values=np.maximum(series.values - taken, 0.0),
        tail=np.maximum(series.tail - late, 0.0),
    )


def held(
    reservations: Sequence[Reservation], now_s: float, horizons_s: Sequence[float], step_s: float
) -> Floats:
    """GPUs reserved in the step that ends at each horizon, as a mean over it."""
    end = now_s + np.asarray(horizons_s, dtype=np.float64)
    return _over(reservations, end - step_s, end)


def _over(reservations: Sequence[Reservation], begin: Floats, end: Floats) -> Floats:
    total = np.zeros(len(begin))
    for each in reservations:
        shared = np.minimum(end, each.end_s) - np.maximum(begin, each.begin_s)
        total += each.gpus * np.maximum(shared, 0.0) / np.maximum(end - begin, 1e-9)
    return total

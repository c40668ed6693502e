"""Which of these numbers does not belong? Medians and their deviations, which one sick member in
many cannot move. Pure numpy."""

from __future__ import annotations

from statistics import median

import numpy as np
from numpy.typing import NDArray

TO_SIGMA = 1.4826
"""Median absolute deviation to standard deviation, for a normal law."""


def deviations(values: NDArray[np.floating], floor: float) -> NDArray[np.float64]:
    """How many robust standard deviations each value is from the median, signed; NaN stays NaN.

    floor: the least spread that counts, in the unit of the values: where all agree to the last
    digit, the first digit of difference is no outlier.
    """
    known = values[~np.isnan(values)]
    if not known.size:
        return np.full(values.shape, np.nan)
    middle = float(np.median(known))
    spread = TO_SIGMA * float(np.median(np.abs(known - middle)))
    return np.asarray((values - middle) / max(spread, floor), np.float64)


def slower(recent: tuple[float, ...], usual: tuple[float, ...], factor: float) -> tuple[bool, ...]:
    """For each recent pace (seconds per step): is it slower than `factor` times the usual one,
    and more than six robust deviations from it?"""
    if not usual or not recent:
        return (False,) * len(recent)
    middle = median(usual)
    spread = TO_SIGMA * median([abs(pace - middle) for pace in usual])
    limit = max(factor * middle, middle + 6.0 * max(spread, 0.02 * middle))
    return tuple(pace > limit for pace in recent)

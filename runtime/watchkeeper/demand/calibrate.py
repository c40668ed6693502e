"""Conformal calibration: move each quantile by how far it missed its share of late.

Rolling, for each band of horizons and each level: the offset is that quantile of past errors (per
square root of the horizon), shrunk while few days speak. Split conformal at full strength
over-corrects when demand drifts; `strength` says how much of it is used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from watchkeeper.demand.analogue import weighted
from watchkeeper.demand.panel import Panel
from watchkeeper.demand.series import Floats

STRENGTH = 0.5
HALF_LIFE_D = 28.0
WINDOW_D = 56.0
SHRINK_D = 28.0
"""Offsets count half when so many days speak."""

BANDS = 4
"""The horizons are cut into so many bands of like size."""

FEWEST = 40

PRUDENCE = 1.1
"""The highest quantile is what capacity is planned by: it stands this much farther from the median,
since too little costs more than too much, and a band learned from the past is late to widen."""


def offsets(panel: Panel, said: Floats, now: int, day: int, strength: float = STRENGTH) -> Floats:
    """What to add to each quantile of a forecast made at row `now`: f8[steps, levels].
    said: what would have been said at the panel's origins, uncalibrated."""
    out = np.zeros((len(panel.steps), len(panel.levels)))
    age_d = (now - panel.origins) / day
    rows = np.flatnonzero((age_d > 0) & (age_d < WINDOW_D) & np.isfinite(said[:, 0, 0]))
    if not len(rows) or strength == 0:
        return out
    known = panel.origins[rows, None] + panel.steps <= now
    usable = known & np.isfinite(panel.came[rows])
    heard_d = (age_d[rows].max() - age_d[rows].min()) + 0.25
    pull = strength * heard_d / (heard_d + SHRINK_D)
    counts = np.repeat((0.5 ** (age_d[rows] / HALF_LIFE_D))[:, None], len(panel.steps), axis=1)
    wide = np.sqrt(panel.steps)
    for band in np.array_split(np.arange(len(panel.steps)), min(BANDS, len(panel.steps))):
        mine = usable[:, band]
        if mine.sum() < FEWEST:
            continue
        for level, at in enumerate(panel.levels):
            miss = (panel.came[rows][:, band] - said[rows][:, band, level]) / wide[band]
            moved = weighted(miss[mine], counts[:, band][mine], np.array([at]))
            out[band, level] = pull * wide[band] * moved
    return out


def calibrated(
    panel: Panel,
    said: Floats,
    rows: NDArray[np.int64],
    day: int,
    strength: float = STRENGTH,
) -> Floats:
    """What calibration would have made of the forecasts at these rows, each from its own past."""
    moved = [
        said[row] + offsets(panel, said, int(panel.origins[row]), day, strength) for row in rows
    ]
    return prudent(np.asarray(moved), panel.levels)


def prudent(said: Floats, levels: Floats) -> Floats:
    """Sorted, not below zero, and with a prudent highest quantile."""
    out = np.clip(np.sort(said, axis=-1), 0.0, None)
    middle = out[..., int(np.argmin(np.abs(levels - 0.5)))]
    out[..., -1] = middle + PRUDENCE * (out[..., -1] - middle)
    return np.asarray(out)

"""How sure is a ratio of losses? Block bootstrap over origins: days that follow are alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from watchkeeper.demand.score import pinball
from watchkeeper.demand.series import Floats

BLOCK = 7
"""Origins of one block: a week."""

DRAWS = 2000
SEED = 20260101


def losses(came: Floats, said: Floats, levels: Floats) -> Floats:
    """Loss of each origin, in GPUs: f8[origins]; what is NaN counts nothing."""
    return np.asarray(np.nansum(pinball(came, said, levels).mean(axis=-1), axis=1))


def draws(count: int, chance: np.random.Generator, times: int = DRAWS) -> NDArray[np.int64]:
    """Rows i8[times, count] of origins drawn in blocks (circular, so that each counts alike)."""
    block = min(BLOCK, count)
    begin = chance.integers(0, count, size=(times, -(-count // block)))
    rows = (begin[:, :, None] + np.arange(block)) % count
    drawn: NDArray[np.int64] = rows.reshape(times, -1)[:, :count]
    return drawn


def ratio_bound(came: Floats, mine: Floats, other: Floats, levels: Floats) -> dict[str, Any]:
    """Loss over the other's loss, with its 95 % interval."""
    a, b = losses(came, mine, levels), losses(came, other, levels)
    if b.sum() <= 0:
        return {"ratio": None, "low95": None, "high95": None}
    rows = draws(len(a), np.random.default_rng(SEED))
    below = b[rows].sum(axis=1)
    ratio = a[rows].sum(axis=1)[below > 0] / below[below > 0]
    low, high = np.quantile(ratio, [0.025, 0.975])
    return {
        "ratio": round(float(a.sum() / b.sum()), 4),
        "low95": round(float(low), 4),
        "high95": round(float(high), 4),
    }

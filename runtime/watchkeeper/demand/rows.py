"""Rows that a model of all horizons at once learns from, and those it is asked for.

The target is the change from the last value divided by the square root of the horizon, which
keeps near and far horizons on one scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from watchkeeper.demand.past import Ints, Past
from watchkeeper.demand.series import Floats


def training(
    past: Past, until: int, steps: Sequence[int], per_origin: int, seed: int
) -> tuple[Floats, Floats]:
    """Features and targets of rows before `until`. Every past moment is an origin; of each, a few
    horizons are drawn, spread over all of them: neighbouring horizons tell nearly the same."""
    chance = np.random.default_rng(seed)
    begin = min(7 * past.day, until // 3)
    origin = np.arange(begin, until - 1)
    parts = np.array_split(np.asarray(steps), min(per_origin, len(steps)))
    drawn = [part[chance.integers(0, len(part), len(origin))] for part in parts]
    ahead = np.stack(drawn, axis=1).ravel()
    origin = np.repeat(origin, len(parts))
    inside = origin + ahead < until
    origin, ahead = origin[inside], ahead[inside]
    came = past.values[origin + ahead]
    usable = ~np.isnan(came) & ~np.isnan(past.base[origin])
    origin, ahead, came = origin[usable], ahead[usable], came[usable]
    return past.features(origin, ahead), (came - past.base[origin]) / np.sqrt(ahead)


def asked(origins: Ints, steps: Sequence[int]) -> tuple[Ints, Ints]:
    """Each origin with each horizon: (origin, steps ahead), origins outermost."""
    return np.repeat(origins, len(steps)), np.tile(np.asarray(steps), len(origins))

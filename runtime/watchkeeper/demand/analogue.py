"""What came after past moments like this one: the same hour, the same level, the same slope.

Persistence, but with the changes of the trailing weeks weighted by how much their moment looked
like now. Every past moment keeps a floor of weight, so that it falls back to plain persistence
where nothing looks alike; that makes it the safe rung on short histories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from watchkeeper.demand.member import FEWEST, spread
from watchkeeper.demand.past import Ints, Past
from watchkeeper.demand.series import Floats

WINDOW_S = 56 * 86400.0
SLOPE_S = 6 * 3600.0


@dataclass(frozen=True)
class Analogue:
    """hour_h: how near in the time of day. level, slope: how near, in standard deviations.
    floor_*: the weight of a moment that is not alike at all. forget_s: the weight of a moment
    halves with this age."""

    name: str = "analogue"
    hour_h: float = 3.0
    level: float = 0.7
    slope: float = 0.5
    floor_hour: float = 0.3
    floor_level: float = 0.3
    floor_slope: float = 0.3
    forget_s: float = np.inf
    needs_s: float = 2 * 86400.0
    refit_s: float = np.inf

    def fit(self, past: Past, until: int, steps: Sequence[int], levels: Floats) -> _Alike:  # noqa: ARG002
        return _Alike(self, tuple(steps), levels)

    def weights(self, past: Past, begin: int, origin: int) -> Floats:
        """How much each row from `begin` to `origin` looks like the last of them."""
        filled = past.filled[begin : origin + 1]
        age = np.arange(len(filled))[::-1]
        clock = age % past.day
        apart = np.minimum(clock, past.day - clock) / past.hour
        weight = _near(apart / self.hour_h, self.floor_hour)
        weight *= _near(_from_last(filled) / self.level, self.floor_level)
        back = np.maximum(np.arange(len(filled)) - round(SLOPE_S / past.series.step_s), 0)
        weight *= _near(_from_last(filled - filled[back]) / self.slope, self.floor_slope)
        if np.isfinite(self.forget_s):
            weight *= 0.5 ** (age * past.series.step_s / self.forget_s)
        return weight


@dataclass(frozen=True, eq=False)
class _Alike:
    model: Analogue
    steps: tuple[int, ...]
    levels: Floats

    def at(self, past: Past, origins: Ints) -> Floats:
        window = int(WINDOW_S / past.series.step_s)
        first = int(np.argmax(~np.isnan(past.filled)))
        out = np.empty((len(origins), len(self.steps), len(self.levels)))
        for i, origin in enumerate(origins):
            begin = max(first, int(origin) + 1 - window)
            weight = self.model.weights(past, begin, int(origin))
            for j, h in enumerate(self.steps):
                out[i, j] = past.base[origin] + self._change(past, begin, int(origin), h, weight)
        return out

    def _change(self, past: Past, begin: int, origin: int, h: int, weight: Floats) -> Floats:
        end = origin + 1 - h
        if end - begin < FEWEST:
            return spread(past.values[begin : origin + 1], h, self.levels)
        change = past.values[begin + h : origin + 1] - past.base[begin:end]
        known = ~np.isnan(change)
        if known.sum() < FEWEST:
            return np.zeros(len(self.levels))
        return weighted(change[known], weight[: end - begin][known], self.levels)


def weighted(values: Floats, weight: Floats, levels: Floats) -> Floats:
    """Quantiles of values that count as much as their weight says."""
    order = np.argsort(values)
    weight = weight[order]
    place = np.cumsum(weight) - 0.5 * weight
    return np.interp(levels, place / weight.sum(), values[order])


def _near(distance: Floats, floor: float) -> Floats:
    near: Floats = floor + (1 - floor) * np.exp(-0.5 * distance**2)
    return near


def _from_last(values: Floats) -> Floats:
    """Distance of each from the last, in standard deviations of them all."""
    spread_of = float(np.std(values))
    apart: Floats = np.abs(values - values[-1]) / (spread_of if spread_of > 1e-9 else 1.0)
    return apart

"""The plainest rungs: what is wanted now, or was wanted at this hour before, give or take.

Quantiles are those of the same change over the trailing 8 weeks. Needs no history to speak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from watchkeeper.demand.member import level_spread, spread
from watchkeeper.demand.past import Ints, Past
from watchkeeper.demand.series import Floats, Series

RESIDUAL_WINDOW_S = 56 * 86400.0
"""Changes of the trailing 8 weeks give the naive rungs their quantiles."""


@dataclass(frozen=True)
class Persistence:
    """What is wanted now will be wanted then, give or take what it changed by before."""

    name: str = "persistence"
    needs_s: float = 0.0
    refit_s: float = np.inf

    def fit(self, past: Past, until: int, steps: Sequence[int], levels: Floats) -> _Naive:  # noqa: ARG002
        return _Naive(0, tuple(steps), levels)


@dataclass(frozen=True)
class SeasonalNaive:
    """What was wanted at the same hour a season ago, give or take. season_s: 24 h or 168 h."""

    season_s: float
    needs_s: float = 4 * 86400.0
    refit_s: float = np.inf

    @property
    def name(self) -> str:
        return f"seasonal_naive_{self.season_s / 3600:g}h"

    def fit(self, past: Past, until: int, steps: Sequence[int], levels: Floats) -> _Naive:  # noqa: ARG002
        return _Naive(round(self.season_s / past.series.step_s), tuple(steps), levels)


@dataclass(frozen=True, eq=False)
class _Naive:
    """season: steps; 0 means persistence."""

    season: int
    steps: tuple[int, ...]
    levels: Floats

    def at(self, past: Past, origins: Ints) -> Floats:
        window = int(RESIDUAL_WINDOW_S / past.series.step_s)
        out = np.empty((len(origins), len(self.steps), len(self.levels)))
        for i, origin in enumerate(origins):
            recent = past.values[max(0, int(origin) + 1 - window) : int(origin) + 1]
            spreads: dict[int, Floats] = {}
            for j, h in enumerate(self.steps):
                back = self.season * -(-h // self.season) if self.season else h
                if back not in spreads:
                    around = spread if self.season else level_spread
                    spreads[back] = around(recent, back, self.levels)
                out[i, j] = self._base(past, int(origin), h, back) + spreads[back]
        return out

    def _base(self, past: Past, origin: int, h: int, back: int) -> float:
        then = origin + h - back
        value = past.filled[then] if then >= 0 else np.nan
        return float(past.filled[origin] if np.isnan(value) else value)


def persisted(series: Series, steps: Sequence[int], levels: Floats) -> Floats:
    """What persistence says from the end of a series on: f8[steps, levels]."""
    past = Past(series)
    fitted = Persistence().fit(past, len(past), steps, levels)
    said: Floats = fitted.at(past, np.array([len(past) - 1]))[0]
    return said

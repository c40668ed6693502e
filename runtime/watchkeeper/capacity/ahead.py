"""Demand ahead by the hour: a forecast's quantiles as the scenarios that a plan must hold in.

Nothing beyond the forecast is invented: no hour after its last horizon, no level above its highest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.forecast import Forecast


@dataclass(frozen=True, eq=False, slots=True)
class Ahead:
    """GPUs wanted in one pool. gpus: f8[H, K], hour by level; levels: K, rising in (0, 1).
    method: who says so."""

    pool: str
    levels: tuple[float, ...]
    gpus: NDArray[np.float64]
    method: str

    @property
    def hours(self) -> int:
        return len(self.gpus)

    def at(self, level: float) -> NDArray[np.float64] | None:
        """f8[H]: demand at one level, straight between those known; None beyond the highest.
        Below the lowest it is that of the lowest, which is too much rather than too little."""
        if level > self.levels[-1] + 1e-9:
            return None
        rows = [np.interp(level, self.levels, row) for row in self.gpus]
        return np.array(rows, np.float64)


def ahead(forecast: Forecast) -> Ahead | None:
    """The forecast by whole hours: hour h is the demand expected h + 1 hours from now, straight
    between horizons. None where it does not reach one hour."""
    hours = int(max(forecast.horizons_s, default=0.0) // 3600)
    if hours < 1 or not forecast.quantiles:
        return None
    return from_quantiles(
        forecast.pool,
        forecast.quantiles,
        np.array(
            [
                np.interp(
                    np.arange(1, hours + 1) * 3600.0,
                    forecast.horizons_s,
                    [row[k] for row in forecast.values],
                )
                for k in range(len(forecast.quantiles))
            ]
        ).T,
        forecast.method,
    )


def from_quantiles(
    pool: str, levels: Sequence[float], gpus: NDArray[np.float64], method: str
) -> Ahead:
    """The same from columns. Levels are put in order, and no quantile is below a lower one."""
    order = np.argsort(levels)
    rising = np.maximum.accumulate(np.maximum(gpus[:, order], 0.0), axis=1)
    return Ahead(pool, tuple(float(levels[i]) for i in order), rising, method)


@dataclass(frozen=True, eq=False, slots=True)
class Scenarios:
    """What a plan is made for. gpus: f8[H, S], rising; weight: f8[S], the chance that the demand
    of an hour is like that of the scenario. The last is the service level itself; the chance
    beyond it is left out: that is what a service level means."""

    gpus: NDArray[np.float64]
    weight: NDArray[np.float64]


def scenarios(demand: Ahead, service_level: float) -> Scenarios | None:
    """The forecast's levels below the service level, and the service level itself; each stands
    for the chances half-way to its neighbours. None where the forecast does not reach so high."""
    top = demand.at(service_level)
    if top is None:
        return None
    below = [k for k, level in enumerate(demand.levels) if level < service_level - 1e-9]
    levels = np.array([*(demand.levels[k] for k in below), service_level])
    edges = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [service_level]])
    return Scenarios(np.column_stack([demand.gpus[:, below], top]), np.diff(edges))

"""One rung of the ladder: a way to see demand ahead. Quantile arithmetic that all rungs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from watchkeeper.demand.past import Ints, Past
from watchkeeper.demand.series import Floats

FEWEST = 5
"""With fewer past changes over a horizon, those of the longest that has enough are widened."""


class Fitted(Protocol):
    """A model that has learned from a past."""

    def at(self, past: Past, origins: Ints) -> Floats:
        """f8[origins, steps, levels] in GPUs, not yet sorted or clipped. An origin is the row of
        the last known step; nothing after it is looked at."""
        ...


class Member(Protocol):
    """A way to forecast. needs_s: history below which it may not compete. refit_s: it learns anew
    when so much time has passed."""

    @property
    def name(self) -> str: ...

    @property
    def needs_s(self) -> float: ...

    @property
    def refit_s(self) -> float: ...

    def fit(self, past: Past, until: int, steps: Sequence[int], levels: Floats) -> Fitted:
        """Learns from rows before `until`."""
        ...


def tidy(values: Floats, ceiling: float = np.inf) -> Floats:
    """Quantiles that do not cross, are not below zero and not above what is justified."""
    return np.clip(np.sort(values, axis=-1), 0.0, ceiling)


def quantiles(values: Floats, levels: Floats) -> Floats:
    """np.quantile of one short array without its overhead: this runs ten thousand times."""
    ordered = np.sort(values)
    place = levels * (len(ordered) - 1)
    low = place.astype(np.int64)
    high = np.minimum(low + 1, len(ordered) - 1)
    below = ordered[low]
    found: Floats = below + (ordered[high] - below) * (place - low)
    return found


_MIDDLE = np.array([0.5])


def level_spread(values: Floats, steps: int, levels: Floats) -> Floats:
    """The same around no change, where the history is shorter than FEWEST such spans: one rise in
    ten minutes, told by all changes that overlap it, is no trend of hours."""
    wide = spread(values, steps, levels)
    if len(values) >= FEWEST * steps:
        return wide
    drift: Floats = spread(values, steps, _MIDDLE)
    return wide - drift


def spread(values: Floats, steps: int, levels: Floats) -> Floats:
    """Quantiles of how much a series changed over so many steps; zeros when it never did."""
    for h in range(min(steps, len(values) - FEWEST), 0, -1):
        changes = values[h:] - values[:-h]
        changes = changes[~np.isnan(changes)]
        if len(changes) >= FEWEST:
            wide: Floats = quantiles(changes, levels) * np.sqrt(steps / h)
            return wide
    return np.zeros(len(levels))

"""The gate: how much each rung of the ladder may say, by its own forecasts at past moments.

Weights fall exponentially with a rung's loss over the safe rung's, faster the more days speak;
losses of four weeks ago count half. At an origin, only forecasts whose hours had come count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from watchkeeper.demand.ladder import PLAIN, RUNGS, SAFE, Rung
from watchkeeper.demand.panel import Panel
from watchkeeper.demand.score import pinball
from watchkeeper.demand.series import Floats

SHARPNESS = 40.0
"""With it, 5 % more loss over 9 days of evidence costs a rung all but 0.2 % of its weight."""

HALF_LIFE_D = 28.0
WINDOW_D = 56.0


class Gate:
    """Weighs the rungs at any origin of a panel. per_day: origins of the panel a day; day: steps
    of its grid a day."""

    def __init__(self, panel: Panel, day: int) -> None:
        self.panel = panel
        self._day = day
        self._per_day = (
            max(1.0, day / float(np.median(np.diff(panel.origins))))
            if (len(panel.origins) > 1)
            else 1.0
        )
        self._said = {r.name: said for r in RUNGS if (said := _average(panel, r)) is not None}
        self._loss = {
            name: pinball(panel.came, said, panel.levels).mean(axis=-1)
            for name, said in self._said.items()
        }

    def weights(self, now: int) -> dict[str, float]:
        """Rung weights for a forecast made at row `now`, summing to 1. Persistence alone, where
        no rung has been heard yet."""
        weight, scale = self._evidence(now), {}
        for rung in RUNGS:
            if rung.name in self._said:
                scale[rung.name] = self._weight(rung, weight)
        total = sum(scale.values())
        if total <= 0:
            return {PLAIN: 1.0}
        return {name: value / total for name, value in scale.items() if value > 0}

    def combined(self, rows: NDArray[np.int64]) -> Floats:
        """What the gate would have said at these rows of the panel: f8[rows, steps, levels]."""
        out = np.full((len(rows), *self.panel.came.shape[1:], len(self.panel.levels)), np.nan)
        for i, row in enumerate(rows):
            parts = [
                (w, said)
                for name, w in self.weights(int(self.panel.origins[row])).items()
                if np.isfinite(said := self._said[name][row]).all()
            ]
            total = sum(w for w, _ in parts)
            if total > 0:
                mixed = sum((w / total * said for w, said in parts), np.zeros(out.shape[1:]))
                out[i] = np.sort(mixed, axis=-1)
        return out

    def _evidence(self, now: int) -> Floats:
        """How much each (origin, step) of the panel counts at row `now`; 0 for what is to come."""
        age_d = (now - self.panel.origins) / self._day
        counts = np.where((age_d > 0) & (age_d < WINDOW_D), 0.5 ** (age_d / HALF_LIFE_D), 0.0)
        known = self.panel.origins[:, None] + self.panel.steps <= now
        return np.where(known, counts[:, None], 0.0)

    def _weight(self, rung: Rung, evidence: Floats) -> float:
        reference = self._loss.get(SAFE, self._loss[PLAIN])
        mine = self._loss[rung.name]
        usable = (evidence > 0) & np.isfinite(mine) & np.isfinite(reference)
        heard_d = np.any(usable, axis=1).sum() / self._per_day
        if heard_d < max(rung.judged_d, 1 / self._per_day):
            return 0.0
        counts = np.where(usable, evidence, 0.0)
        against = float((counts * np.where(usable, reference, 0.0)).sum())
        ratio = float((counts * np.where(usable, mine, 0.0)).sum()) / max(against, 1e-12)
        days = float(counts.sum()) / self.panel.came.shape[1] / self._per_day
        if against <= 0:
            ratio = 1.0 if ratio <= 0 else np.inf
        return float(rung.trust * np.exp(-SHARPNESS * np.sqrt(days) * (ratio - 1)))


def _average(panel: Panel, rung: Rung) -> Floats | None:
    """What a rung said; None while one of its members is not there."""
    if not all(name in panel.said for name in rung.members):
        return None
    return np.asarray(sum(panel.said[name] for name in rung.members) / len(rung.members))

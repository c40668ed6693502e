"""How good were forecasts? Quantile loss, band coverage, and what planning by them would cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from watchkeeper.demand.series import Floats


@dataclass(frozen=True, slots=True)
class Score:
    """wql: weighted quantile loss, a fraction (0.03 is 3 %), mean over the levels. coverage80:
    share of what came between the 0.1 and 0.9 quantile. short: share of hours above the highest
    quantile (P95); over: what P95 held above what came, as a share of what came. mae: of the
    median, in GPUs. hours: forecasts compared; 0 means that nothing could be, and wql is infinite.
    """

    wql: float
    coverage80: float
    short: float
    over: float
    mae: float
    hours: int


NOTHING = Score(float("inf"), 0.0, 0.0, 0.0, float("inf"), 0)


def pinball(came: Floats, said: Floats, levels: Floats) -> Floats:
    """Quantile loss f8[..., levels], in GPUs."""
    miss = came[..., None] - said
    return np.asarray(np.maximum(levels * miss, (levels - 1) * miss))


def score(came: Floats, said: Floats, levels: Floats) -> Score:
    """came f8[...], said f8[..., levels]; what is NaN on either side is left out."""
    usable = ~np.isnan(came) & ~np.isnan(said).any(axis=-1)
    came, said = came[usable], said[usable]
    total = float(np.abs(came).sum())
    if not came.size or total == 0:
        return NOTHING
    low, middle, high = (int(np.argmin(np.abs(levels - q))) for q in (0.1, 0.5, 0.9))
    top = said[:, -1]
    return Score(
        wql=2 * float(pinball(came, said, levels).mean(axis=-1).sum()) / total,
        coverage80=float(np.mean((said[:, low] <= came) & (came <= said[:, high]))),
        short=float(np.mean(came > top)),
        over=float(np.maximum(top - came, 0.0).sum()) / total,
        mae=float(np.abs(came - said[:, middle]).mean()),
        hours=len(came),
    )

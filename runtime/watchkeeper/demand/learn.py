"""What is learned of one series: who may say how much, how it is calibrated, how good it was.

The expensive part (a backtest of all members), as plain data: it may be made elsewhere and sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from watchkeeper.demand.calibrate import calibrated, offsets, prudent
from watchkeeper.demand.drift import drifted
from watchkeeper.demand.gate import Gate
from watchkeeper.demand.ladder import PLAIN, able, needed, shares_of
from watchkeeper.demand.member import Fitted, tidy
from watchkeeper.demand.panel import roll
from watchkeeper.demand.past import Past
from watchkeeper.demand.score import NOTHING, Score, pinball, score
from watchkeeper.demand.series import Floats, Series

DAY = 86400.0


@dataclass(frozen=True)
class Effort:
    """How much of the past the members are judged by. origin_s: time between two past moments;
    judged_s: how far back they go."""

    origin_s: float = 6 * 3600.0
    judged_s: float = 56 * DAY


@dataclass(frozen=True)
class Learned:
    """shares: member -> its part in the average. offsets: what calibration adds to each quantile,
    a row for each step. ours: how the engine did at `origins` past moments; members: how each did
    alone. usual_loss: the engine's mean loss there in GPUs, before the newest quarter."""

    shares: dict[str, float]
    offsets: tuple[tuple[float, ...], ...]
    ours: Score
    members: dict[str, Score]
    origins: int
    usual_loss: float
    drifted: bool

    @property
    def ratio(self) -> float | None:
        """Loss over persistence's; None where either could not be measured."""
        plain = self.members.get(PLAIN, NOTHING)
        if not self.ours.hours or not plain.hours or plain.wql <= 0:
            return None
        return self.ours.wql / plain.wql


def learn(
    series: Series, steps: Sequence[int], levels: Floats, effort: Effort, seed: int
) -> Learned:
    """Every member at past moments of the series; gate and calibration from what it said there.

    Each past moment is gated and calibrated by its own past only, so the score is one of forecasts
    as they would have been made. Moments of the first half have hardly a past and are not scored.
    """
    past, end = Past(series), len(series.values) - 1
    every = max(1, round(effort.origin_s / series.step_s))
    first = max(end - round(effort.judged_s / series.step_s), 2 * past.day)
    origins = np.arange(end - every, first - 1, -every)[::-1]
    panel = roll(past, able(series, seed), origins, steps, levels)
    gate = Gate(panel, past.day)
    mixed = gate.combined(np.arange(len(origins)))
    judged = np.arange(len(origins) // 2, len(origins))
    said = calibrated(panel, mixed, judged, past.day) if len(judged) else mixed
    came = panel.came[judged]
    losses = _by_origin(came, said, levels)
    known = losses[: -max(1, len(losses) // 4)]
    usual = float(known[np.isfinite(known)].mean()) if np.isfinite(known).any() else 0.0
    return Learned(
        shares=shares_of(gate.weights(end)),
        offsets=tuple(map(tuple, offsets(panel, mixed, end, past.day).tolist())),
        ours=score(came, said, levels),
        members={name: score(came, told[judged], levels) for name, told in panel.said.items()},
        origins=int(np.isfinite(losses).sum()),
        usual_loss=usual,
        drifted=usual > 0 and drifted(losses, usual),
    )


@dataclass(frozen=True, eq=False)
class Spoken:
    """The members that have a share, fitted; says what `learned` says of any later series."""

    learned: Learned
    fitted: tuple[tuple[float, Fitted], ...]
    levels: Floats

    def at(self, series: Series) -> Floats:
        """f8[steps, levels] ahead of the series' end."""
        past, end = Past(series), np.array([len(series.values) - 1])
        mixed = sum(share * tidy(fitted.at(past, end))[0] for share, fitted in self.fitted)
        said: Floats = np.asarray(mixed) + np.asarray(self.learned.offsets)
        return prudent(said, self.levels)


def speaker(
    series: Series, learned: Learned, steps: Sequence[int], levels: Floats, seed: int
) -> Spoken:
    """One fit of each member that has a share."""
    past = Past(series)
    fitted = tuple(
        (learned.shares[m.name], m.fit(past, len(series.values), steps, levels))
        for m in needed(learned.shares, seed)
    )
    return Spoken(learned, fitted, levels)


def _by_origin(came: Floats, said: Floats, levels: Floats) -> Floats:
    """Mean loss of each origin in GPUs, over the hours that are known; NaN where none is."""
    loss = pinball(came, said, levels).mean(axis=-1)
    known = np.isfinite(loss)
    count = known.sum(axis=1)
    total = np.where(known, loss, 0.0).sum(axis=1)
    mean: Floats = np.divide(total, count, out=np.full(len(loss), np.nan), where=count > 0)
    return mean

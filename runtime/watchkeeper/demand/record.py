"""The shadow record: forecasts that were made ahead, kept, and compared once their hours came.

A backtest is a promise; this is whether it was kept. Forecasts act only after it, where policy
asks for it (`forecast.made_score`, `forecast.made_over`). A `Keeper` lets it outlive the watch;
without one it is in memory, and begins anew.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from msgspec.structs import replace

from watchkeeper.core.forecast import Forecast
from watchkeeper.core.word import Word
from watchkeeper.demand.drift import drifted
from watchkeeper.demand.member import tidy
from watchkeeper.demand.naive import persisted
from watchkeeper.demand.score import pinball
from watchkeeper.demand.series import Floats, Series

KEEP = 256
"""Forecasts that wait for their hours, and results that are remembered."""


class Promise(Word, frozen=True):
    """One forecast that waits for its hours. said, plain: GPUs by horizon and level, ours and
    persistence's."""

    at_s: float
    said: tuple[tuple[float, ...], ...]
    plain: tuple[tuple[float, ...], ...]


class Result(Word, frozen=True):
    """One that was compared. loss, plain: pinball loss, ours and persistence's. held: share of its
    hours in which the 80 % band held."""

    loss: float
    plain: float
    held: float


class Kept(Word, frozen=True):
    """A record as it is stored, oldest first."""

    pool: str
    waiting: tuple[Promise, ...] = ()
    results: tuple[Result, ...] = ()


class Keeper(Protocol):
    """Where records outlive the watch. Neither call raises: a record that is lost begins anew."""

    def load(self, pool: str) -> Kept | None:
        """What was saved last; None where nothing was, or it cannot be read."""
        ...

    def save(self, kept: Kept) -> None:
        """Store it in place of what was saved before."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class _Made:
    at_s: float
    said: Floats
    plain: Floats


class Record:
    """Of one pool. usual_loss: what the backtest led to expect, in GPUs."""

    def __init__(self, usual_loss: float, every_s: float = 3600.0) -> None:
        self._usual = usual_loss
        self._every_s = every_s
        self._since_learned = 0
        self._waiting: deque[_Made] = deque(maxlen=KEEP)
        self._results: deque[Result] = deque(maxlen=KEEP)
        self.changed = False
        """Something is not stored yet."""

    def take_up(self, kept: Kept) -> None:
        """Go on from what was stored: its promises are compared when their hours have come."""
        for promise in kept.waiting:
            said, plain = np.array(promise.said), np.array(promise.plain)
            if said.ndim == 2 and said.shape == plain.shape:
                self._waiting.append(_Made(promise.at_s, said, plain))
        self._results.extend(kept.results)

    def keep(self, pool: str) -> Kept:
        """As it stands, to be stored."""
        self.changed = False
        return Kept(
            pool=pool,
            waiting=tuple(Promise(m.at_s, _rows(m.said), _rows(m.plain)) for m in self._waiting),
            results=tuple(self._results),
        )

    @property
    def drifted(self) -> bool:
        """The forecasts of late missed far more than the backtest led to expect."""
        losses = np.array([r.loss for r in self._results][-self._since_learned :])
        if not self._since_learned:
            return False
        return self._usual > 0 and drifted(losses, self._usual)

    def learned_anew(self, usual_loss: float) -> None:
        """Another backtest, another expectation; the promises made before stay on record."""
        self._usual, self._since_learned = usual_loss, 0

    def told(self, made: Forecast, series: Series) -> Forecast:
        """The forecast with its shadow record; it is itself kept to be compared, once an hour."""
        self._compare(series, made)
        at = made.made_at.timestamp()
        if not self._waiting or at - self._waiting[-1].at_s >= self._every_s:
            steps = [round(h / series.step_s) for h in made.horizons_s]
            plain = tidy(persisted(series, steps, np.array(made.quantiles)))
            self._waiting.append(_Made(at, np.array(made.values), plain))
            self.changed = True
        if not self._results:
            return made
        lost = sum(r.plain for r in self._results)
        return replace(
            made,
            made_over=len(self._results),
            made_score=sum(r.loss for r in self._results) / lost if lost > 0 else None,
            made_coverage80=float(np.mean([r.held for r in self._results])),
            drifted=made.drifted or self.drifted,
        )

    def _compare(self, series: Series, like: Forecast) -> None:
        """Takes out what is old enough to be known over its whole horizon."""
        now, far = float(series.times[-1]), like.horizons_s[-1]
        levels = np.array(like.quantiles)
        low, high = (int(np.argmin(np.abs(levels - q))) for q in (0.1, 0.9))
        while self._waiting and self._waiting[0].at_s + far <= now:
            made = self._waiting.popleft()
            if made.said.shape != (len(like.horizons_s), len(levels)):
                continue  # made while history was too short for these horizons
            came = _at(series, made.at_s + np.asarray(like.horizons_s))
            known = ~np.isnan(came)
            if not known.any():
                continue
            came, said, plain = came[known], made.said[known], made.plain[known]
            self.changed = True
            self._since_learned = min(self._since_learned + 1, KEEP)
            self._results.append(
                Result(
                    loss=float(pinball(came, said, levels).mean()),
                    plain=float(pinball(came, plain, levels).mean()),
                    held=float(np.mean((said[:, low] <= came) & (came <= said[:, high]))),
                )
            )


def _rows(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(v), 4) for v in row) for row in values)


def _at(series: Series, times: Floats) -> Floats:
    """The step that ends nearest to each time; NaN outside the series."""
    row = np.rint((times - series.times[0]) / series.step_s).astype(np.int64)
    inside = (row >= 0) & (row < len(series.values))
    return np.where(inside, series.values[np.clip(row, 0, len(series.values) - 1)], np.nan)

"""Which model may speak, and what it says: readings of one pool -> one Forecast.

A ladder with a gate: a better model is used only once there is history enough to test it here,
and it won that test. `choose` is the expensive part (seconds with boosting) and may be kept for
hours; `forecast` with a choice at hand costs milliseconds, or one fit with boosting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from watchkeeper.core.forecast import Forecast
from watchkeeper.demand.backtest import Score, backtest, origins_of
from watchkeeper.demand.models import (
    GradientBoosting,
    Model,
    Persistence,
    SeasonalNaive,
    tidy,
)
from watchkeeper.demand.series import Samples, Series, grid

HOUR = 3600.0
DAY = 24 * HOUR
STALE_S = 600.0
"""A newest reading older than this is told to whoever reads the forecast."""


@dataclass(frozen=True, slots=True)
class DemandSettings:
    """How far ahead, how sure, and how much history each model needs before it may compete.

    seed makes boosting repeatable. must_win: a richer model must beat the plainer one by this
    share of its loss. least_coverage: a model whose 80 % band held less often than this in its
    backtest may not speak.
    """

    levels: tuple[float, ...] = (0.05, 0.1, 0.5, 0.9, 0.95)
    near_s: tuple[float, ...] = (300.0, 900.0, 1800.0, HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR)
    far_s: tuple[float, ...] = (HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 18 * HOUR, DAY)
    hourly_from_s: float = 3 * DAY
    seasonal_day_from_s: float = 4 * DAY
    seasonal_week_from_s: float = 21 * DAY
    boosting_from_s: float = 14 * DAY
    least_known: float = 0.5
    must_win: float = 0.03
    least_coverage: float = 0.6
    origin_every_h: int = 13
    most_origins: int = 28
    refit_every_h: int = 168
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """The model that may speak for a pool, and why. made_at_s: epoch seconds; worth keeping for
    some hours. ratio: its backtest loss over persistence's; None without a backtest."""

    method: str
    why: str
    made_at_s: float
    ratio: float | None = None
    coverage80: float | None = None


DEFAULT = DemandSettings()


def forecast(
    pool: str,
    samples: Samples,
    at: datetime,
    settings: DemandSettings = DEFAULT,
    *,
    capacity: float | None = None,
    choice: Choice | None = None,
) -> Forecast:
    """Demand for GPUs (running + pending) of one pool ahead of `at`.

    samples: (epoch seconds, running, pending); later ones than `at` are not looked at. capacity:
    the pool's GPUs; quantiles go above it only as far as demand was ever seen to go, because
    work may wait. choice: an earlier answer of `choose`; without it, it is asked afresh.

    With no reading at all the Forecast has no horizons. Raises Malformed for a broken reading.
    """
    series = _series(samples, at.timestamp(), settings)
    if not len(series.values):
        return Forecast(
            pool=pool,
            made_at=at,
            method="persistence",
            why="No demand was recorded yet.",
            horizons_s=(),
            quantiles=settings.levels,
            values=(),
            history_s=0.0,
        )
    if choice is None:
        choice = _choose(series, settings)
    horizons = _horizons(series, settings)
    steps = [round(h / series.step_s) for h in horizons]
    model = _model(choice.method, settings)
    said = model.fit(series, steps, settings.levels).predict(series, steps, settings.levels)
    highest = float(np.nanmax(series.values))
    ceiling = np.inf if capacity is None else max(capacity, highest)
    values = np.round(tidy(said, ceiling), 3)
    return Forecast(
        pool=pool,
        made_at=at,
        method=choice.method,
        why=choice.why + _stale(series),
        horizons_s=horizons,
        quantiles=settings.levels,
        values=tuple(tuple(float(v) for v in row) for row in values),
        history_s=series.history_s,
        score=choice.ratio,
        coverage80=choice.coverage80,
    )


def choose(samples: Samples, at: datetime, settings: DemandSettings = DEFAULT) -> Choice:
    """Which model may speak for these readings, by its own rolling backtest on them."""
    return _choose(_series(samples, at.timestamp(), settings), settings)


class KeptChoices:
    """`forecast` for a caller that asks every minute: a choice that took a backtest is kept.

    It may run in a background thread; one caller at a time. Holds one choice per pool, no samples.
    """

    def __init__(self, settings: DemandSettings = DEFAULT, keep_s: float = 6 * HOUR) -> None:
        self._settings = settings
        self._keep_s = keep_s
        self._choices: dict[str, Choice] = {}

    def forecast(self, pool: str, samples: Samples, at: datetime) -> Forecast:
        """See `forecast`. The backtest runs anew when `keep_s` have passed since the last."""
        kept = self._choices.get(pool)
        if kept is not None and not 0 <= at.timestamp() - kept.made_at_s < self._keep_s:
            kept = None
        chosen = kept or choose(samples, at, self._settings)
        # Without a backtest the reason names the length of the history, which goes stale.
        if chosen.ratio is not None:
            self._choices[pool] = chosen
        return forecast(pool, samples, at, self._settings, choice=chosen)


def _series(samples: Samples, at_s: float, settings: DemandSettings) -> Series:
    """Hourly means once there are days of history; finer steps before."""
    first = min((t for t, _, _ in samples if t <= at_s), default=at_s)
    history = at_s - first
    step = HOUR if history >= settings.hourly_from_s else 300.0 if history >= 3 * HOUR else 60.0
    return grid(samples, at_s, step)


def _horizons(series: Series, settings: DemandSettings) -> tuple[float, ...]:
    return settings.far_s if series.step_s >= HOUR else settings.near_s


def _choose(series: Series, settings: DemandSettings) -> Choice:
    now = float(series.times[-1]) if len(series.times) else 0.0
    if series.history_s < settings.seasonal_day_from_s:
        why = (
            f"A history of {_span(series.history_s)} is too short for a daily pattern "
            f"({_span(settings.seasonal_day_from_s)} needed) or for gradient boosting "
            f"({_span(settings.boosting_from_s)})."
        )
        return Choice("persistence", why, now)
    if series.known < settings.least_known:
        why = (
            f"Only {series.known:.0%} of the last {_span(series.history_s)} was recorded; "
            f"{settings.least_known:.0%} is needed to compare models."
        )
        return Choice("persistence", why, now)
    return _compare(series, settings, now)


def _compare(series: Series, settings: DemandSettings, now: float) -> Choice:
    hour = round(HOUR / series.step_s)
    steps = [round(h / series.step_s) for h in _horizons(series, settings)]
    origins = origins_of(series, steps, settings.origin_every_h * hour, settings.most_origins)
    scores = [
        backtest(
            model,
            series,
            steps,
            settings.levels,
            origins=origins,
            refit_every=settings.refit_every_h * hour,
        )
        for model in _candidates(series, settings)
    ]
    plain = scores[0]
    if not plain.origins or plain.wql == 0:
        return Choice("persistence", "Demand did not change; there is nothing to learn.", now)
    best = plain
    for score in scores[1:]:
        if score.coverage80 < settings.least_coverage:
            continue
        if score.wql < best.wql * (1 - settings.must_win):
            best = score
    return Choice(
        best.model, _because(best, scores, series), now, best.wql / plain.wql, best.coverage80
    )


def _because(best: Score, scores: Sequence[Score], series: Series) -> str:
    plain = scores[0]
    others = ", ".join(f"{s.model} {s.wql:.1%}" for s in scores if s is not best and s is not plain)
    tail = f" Others: {others}." if others else ""
    tried = f"over {best.origins} past moments of {_span(series.history_s)}"
    if best is plain:
        return f"No richer model beat persistence (loss {plain.wql:.1%}) {tried}.{tail}"
    gain = 1 - best.wql / plain.wql
    return (
        f"Loss {best.wql:.1%} against {plain.wql:.1%} for persistence, {gain:.0%} less, {tried}; "
        f"its 80 % band held {best.coverage80:.0%} of the time.{tail}"
    )


def _candidates(series: Series, settings: DemandSettings) -> list[Model]:
    """Plainest first: a tie goes to what is easier to explain."""
    found: list[Model] = [Persistence(), SeasonalNaive(DAY)]
    if series.history_s >= settings.seasonal_week_from_s:
        found.append(SeasonalNaive(7 * DAY))
    if series.history_s >= settings.boosting_from_s:
        found.append(GradientBoosting(seed=settings.seed))
    return found


def _model(method: str, settings: DemandSettings) -> Model:
    models: list[Model] = [
        SeasonalNaive(DAY),
        SeasonalNaive(7 * DAY),
        GradientBoosting(seed=settings.seed),
    ]
    return next((m for m in models if m.name == method), Persistence())


def _stale(series: Series) -> str:
    if series.last_s <= STALE_S:
        return ""
    return f" The last reading is {_span(series.last_s)} old."


def _span(seconds: float) -> str:
    """A length of time as people say it."""
    for unit, size in (("days", DAY), ("h", HOUR), ("min", 60.0)):
        if seconds >= 2 * size or (unit == "min" and seconds >= 60):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

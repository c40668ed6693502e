"""What the watch asks: readings of one pool -> one Forecast, and why this method may speak.

`choose` is the expensive part (a backtest, seconds to a minute) and is kept for a day; `forecast`
with a choice at hand costs milliseconds. A short history abstains from all but persistence, and
carries no score: nothing may act on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from watchkeeper.core.fanout import Fanout
from watchkeeper.core.forecast import Forecast
from watchkeeper.demand.learn import Effort, Learned, Spoken, learn, speaker
from watchkeeper.demand.member import tidy
from watchkeeper.demand.naive import persisted
from watchkeeper.demand.record import Keeper, Record
from watchkeeper.demand.reserve import Reservation, held, without
from watchkeeper.demand.series import Samples, Series, begun, grid

HOUR = 3600.0
DAY = 24 * HOUR
STALE_S = 600.0
"""A newest reading older than this is told to whoever reads the forecast."""


@dataclass(frozen=True, slots=True)
class DemandSettings:
    """How far ahead, how sure, and how much history it takes before models are compared.

    near_s: horizons while history is shorter than hourly_from_s; far_s: from then on. seed makes
    forest and boosting repeatable. effort: how many past moments the members are judged at.
    """

    levels: tuple[float, ...] = (0.05, 0.1, 0.5, 0.9, 0.95)
    near_s: tuple[float, ...] = (300.0, 900.0, 1800.0, HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR)
    far_s: tuple[float, ...] = tuple(h * HOUR for h in range(1, 25))
    hourly_from_s: float = 3 * DAY
    compare_from_s: float = 4 * DAY
    least_known: float = 0.5
    effort: Effort = field(default_factory=Effort)
    keep_s: float = DAY
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Who may speak for a pool, and why: plain data. made_at_s: epoch seconds. learned: None for
    persistence without a backtest. compared: a backtest ran, whatever it showed."""

    method: str
    why: str
    made_at_s: float
    learned: Learned | None = None
    compared: bool = False


DEFAULT = DemandSettings()


def forecast(
    pool: str,
    samples: Samples,
    at: datetime,
    settings: DemandSettings = DEFAULT,
    *,
    capacity: float | None = None,
    choice: Choice | None = None,
    reservations: Sequence[Reservation] = (),
) -> Forecast:
    """Demand for GPUs (running + pending) of one pool ahead of `at`.

    samples: (epoch seconds, running, pending); later ones than `at` are not looked at. capacity:
    the pool's GPUs; quantiles go above it only as far as demand was ever seen to go, because
    work may wait. choice: an earlier answer of `choose`; without it, it is asked afresh.
    reservations: GPUs that are known to be wanted for a time; they are taken out of the past and
    added to the hours ahead. With no reading at all the Forecast has no horizons.

    Raises Malformed for a broken reading.
    """
    series = _series(samples, at.timestamp(), settings, reservations)
    chosen = choice or _choose(series, settings)
    spoken = _speaker(series, chosen, settings)
    return _forecast(pool, series, at, settings, chosen, spoken, capacity, reservations)


def choose(
    samples: Samples,
    at: datetime,
    settings: DemandSettings = DEFAULT,
    reservations: Sequence[Reservation] = (),
) -> Choice:
    """Who may speak for these readings, by its own rolling backtest on them."""
    return _choose(_series(samples, at.timestamp(), settings, reservations), settings)


@dataclass(frozen=True, slots=True)
class Ask:
    """One series to be learned, wherever that may be. Picklable."""

    pool: str
    samples: Samples
    at: datetime
    settings: DemandSettings


def learn_one(ask: Ask) -> Choice:
    """`choose` for one of many series: the function that is spread."""
    return choose(ask.samples, ask.at, ask.settings)


class KeptChoices:
    """`forecast` for a caller that asks every minute. A choice that took a backtest is kept, with
    its fitted members, for a day; made anew earlier when its errors of late are unlike before.

    It may run in a background thread; one caller at a time. Holds no samples. keeper: where shadow
    records outlive it.
    """

    def __init__(self, settings: DemandSettings = DEFAULT, keeper: Keeper | None = None) -> None:
        self._settings = settings
        self._keeper = keeper
        self._kept: dict[str, tuple[Choice, Spoken | None]] = {}
        self._records: dict[str, Record] = {}

    def due(self, pool: str, at: datetime) -> bool:
        """No choice is kept for this pool, or it is old, or it has drifted."""
        kept = self._kept.get(pool)
        if kept is None or not kept[0].compared:
            return True  # without a backtest it is cheap
        age = at.timestamp() - kept[0].made_at_s
        record = self._records.get(pool)
        soon = record is not None and record.drifted and age >= self._settings.keep_s / 8
        return not 0 <= age < self._settings.keep_s or soon

    def learn_many(
        self, samples: Mapping[str, Samples], at: datetime, fanout: Fanout, least: int = 8
    ) -> tuple[str, ...]:
        """Learns every pool that is due over a Fanout (Ray tasks, processes), if they are `least`
        or more: fewer are learned here sooner. The pools learned. What comes back is plain data;
        the members are fitted here."""
        asks = [
            Ask(pool, tuple(given), at, self._settings)
            for pool, given in samples.items()
            if self.due(pool, at) and _long(given, at, self._settings)
        ]
        if len(asks) < least:
            return ()
        for i, choice in fanout.map(learn_one, asks):
            self._keep(asks[i].pool, choice)
        return tuple(ask.pool for ask in asks)

    def forecast(
        self,
        pool: str,
        samples: Samples,
        at: datetime,
        reservations: Sequence[Reservation] = (),
    ) -> Forecast:
        """See `forecast`. The backtest runs anew when it is due."""
        series = _series(samples, at.timestamp(), self._settings, reservations)
        if self.due(pool, at):
            self._keep(pool, _choose(series, self._settings))
        choice, spoken = self._kept[pool]
        steps = _steps(series, self._settings)
        if spoken is None or (choice.learned and len(choice.learned.offsets) != len(steps)):
            spoken = _speaker(series, choice, self._settings)
            self._kept[pool] = (choice, spoken)
        made = _forecast(pool, series, at, self._settings, choice, spoken, None, reservations)
        if choice.learned is None or not made.horizons_s:
            return made
        record = self._records.get(pool)
        if record is None:
            record = self._records[pool] = Record(choice.learned.usual_loss)
            kept = self._keeper.load(pool) if self._keeper is not None else None
            if kept is not None:
                record.take_up(kept)
        made = record.told(made, series)
        if self._keeper is not None and record.changed:
            self._keeper.save(record.keep(pool))
        return made

    def _keep(self, pool: str, choice: Choice) -> None:
        self._kept[pool] = (choice, None)
        record = self._records.get(pool)
        if record is not None and choice.learned is not None:
            record.learned_anew(choice.learned.usual_loss)


def _long(samples: Samples, at: datetime, settings: DemandSettings) -> bool:
    """There is history enough for a backtest."""
    first = min((t for t, _, _ in samples), default=at.timestamp())
    return at.timestamp() - first >= settings.compare_from_s


def _series(
    samples: Samples,
    at_s: float,
    settings: DemandSettings,
    reservations: Sequence[Reservation] = (),
) -> Series:
    """Hourly means once there are days of history; finer steps before. It begins with the first
    demand: idle days before are no evidence of how good a forecast is."""
    first = min((t for t, _, _ in samples if t <= at_s), default=at_s)
    history = at_s - first
    step = HOUR if history >= settings.hourly_from_s else 300.0 if history >= 3 * HOUR else 60.0
    return without(begun(grid(samples, at_s, step)), reservations)


def _horizons(series: Series, settings: DemandSettings) -> tuple[float, ...]:
    return settings.far_s if series.step_s >= HOUR else settings.near_s


def _steps(series: Series, settings: DemandSettings) -> list[int]:
    return [round(h / series.step_s) for h in _horizons(series, settings)]


def _choose(series: Series, settings: DemandSettings) -> Choice:
    now = float(series.times[-1]) if len(series.times) else 0.0
    if series.history_s < settings.compare_from_s:
        why = (
            f"A history of {_span(series.history_s)} is too short for a daily pattern "
            f"({_span(settings.compare_from_s)} needed). No score, so nothing acts on it."
        )
        return Choice("persistence", why, now)
    if series.known < settings.least_known:
        why = (
            f"Only {series.known:.0%} of the last {_span(series.history_s)} was recorded; "
            f"{settings.least_known:.0%} is needed to compare models."
        )
        return Choice("persistence", why, now)
    if np.nanmax(series.values) == np.nanmin(series.values):
        return Choice("persistence", "Demand did not change; there is nothing to learn.", now)
    levels = np.array(settings.levels)
    learned = learn(series, _steps(series, settings), levels, settings.effort, settings.seed)
    if learned.ratio is None:
        why = "Nothing was wanted in the hours compared."
        return Choice("persistence", why, now, compared=True)
    return Choice(_method(learned.shares), _because(learned, series), now, learned, compared=True)


def _method(shares: dict[str, float]) -> str:
    """The one model that speaks, or `average` with the largest first."""
    names = sorted(shares, key=lambda name: -shares[name])
    if shares[names[0]] > 0.95:
        return names[0]
    return "average of " + ", ".join(names)


def _because(learned: Learned, series: Series) -> str:
    plain = learned.members["persistence"].wql
    others = ", ".join(
        f"{name} {told.wql:.1%}"
        for name, told in learned.members.items()
        if name != "persistence" and told.hours
    )
    gain = 1 - learned.ours.wql / plain
    change = (
        f"{gain:.0%} less" if gain >= 0.005 else f"{-gain:.0%} more" if gain <= -0.005 else "level"
    )
    return (
        f"Loss {learned.ours.wql:.1%} against {plain:.1%} for persistence, {change}, over "
        f"{learned.origins} past moments of {_span(series.history_s)}; its 80 % band held "
        f"{learned.ours.coverage80:.0%} of the time. Alone: {others}."
    )


def _speaker(series: Series, choice: Choice, settings: DemandSettings) -> Spoken | None:
    if choice.learned is None:
        return None
    levels = np.array(settings.levels)
    return speaker(series, choice.learned, _steps(series, settings), levels, settings.seed)


def _forecast(
    pool: str,
    series: Series,
    at: datetime,
    settings: DemandSettings,
    choice: Choice,
    spoken: Spoken | None,
    capacity: float | None,
    reservations: Sequence[Reservation],
) -> Forecast:
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
    horizons, learned = _horizons(series, settings), choice.learned
    if spoken is None:
        said = persisted(series, _steps(series, settings), np.array(settings.levels))
    else:
        said = spoken.at(series)
    extra = held(reservations, at.timestamp(), horizons, series.step_s)
    highest = float(np.nanmax(series.values))
    ceiling = np.inf if capacity is None else max(capacity, highest)
    values = np.round(tidy(said + extra[:, None], ceiling), 3)
    return Forecast(
        pool=pool,
        made_at=at,
        method=choice.method,
        why=choice.why + _stale(series),
        horizons_s=horizons,
        quantiles=settings.levels,
        values=tuple(tuple(float(v) for v in row) for row in values),
        history_s=series.history_s,
        score=learned.ratio if learned else None,
        coverage80=learned.ours.coverage80 if learned else None,
        origins=learned.origins if learned else 0,
        drifted=learned.drifted if learned else False,
        shares=tuple(sorted(learned.shares.items())) if learned else (("persistence", 1.0),),
    )


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

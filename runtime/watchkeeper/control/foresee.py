"""Forecasts off the turn's thread: scikit-learn may take seconds, a turn may not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime

from watchkeeper.core.cluster import ClusterState
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.serving import SERVE
from watchkeeper.demand.occupancy import TENANT, occupancies

log = logging.getLogger("watchkeeper.forecast")

Series = Sequence[tuple[float, float, float]]
"""(epoch seconds, running GPUs, pending GPUs), oldest first."""

Learn = Callable[[Mapping[str, Series], datetime], object]
"""Learns many series at once, wherever there is room; may raise ClusterUnavailable."""

RARELY_S = 600.0
"""A forecast of whole hours ahead says nothing new every minute."""

LEARN_EVERY_S = 3600.0


class BackgroundForecaster:
    """One forecast for each pool every `every_s`, one at a time; every ten minutes once it looks a
    day ahead, and for a tenant. Meets `control.watch.Forecaster`.

    learn: where a cluster has room, all series are learned there together, once an hour what is
    due; without it, or where it fails, each is learned here when it is forecast.
    """

    def __init__(
        self,
        series: Callable[[str], Series],
        forecast: Callable[[str, Series, datetime], Forecast],
        every_s: float = 60.0,
        learn: Learn | None = None,
    ) -> None:
        self._series = series
        self._forecast = forecast
        self._every_s = every_s
        self._learn = learn
        self._learned_at: datetime | None = None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forecast")
        self._running: dict[str, Future[Forecast]] = {}
        self._made_at: dict[str, datetime] = {}
        self._far: set[str] = set()

    def collect(self, state: ClusterState, at: datetime) -> tuple[Forecast, ...]:
        """Forecasts that became ready; starts new ones when they are due. Never blocks."""
        ready = [name for name, future in self._running.items() if future.done()]
        done = tuple(f for name in ready if (f := self._take(name)) is not None)
        names = [each.name for each in occupancies(state)]
        if self._learn is not None and names and self._due(self._learned_at, LEARN_EVERY_S, at):
            self._learned_at = at
            self._pool.submit(self._learn_all, tuple(names), at)
        for name in names:
            rare = name in self._far or name.startswith(TENANT)
            every = RARELY_S if rare else self._every_s
            if name not in self._running and self._due(self._made_at.get(name), every, at):
                self._made_at[name] = at
                self._running[name] = self._pool.submit(self._make, name, at)
        return done

    @staticmethod
    def _due(last: datetime | None, every_s: float, at: datetime) -> bool:
        return last is None or (at - last).total_seconds() >= every_s

    def _make(self, name: str, at: datetime) -> Forecast:
        return self._forecast(name, self._series(name), at)

    def _learn_all(self, names: Sequence[str], at: datetime) -> None:
        if self._learn is None:
            return
        try:
            self._learn({name: self._series(name) for name in names}, at)
        except ClusterUnavailable as err:
            log.info("the series are learned here: %s", err)
        except Exception:  # each is learned here instead, when it is forecast
            log.exception("the series could not be learned together")

    def _take(self, name: str) -> Forecast | None:
        future = self._running.pop(name)
        try:
            made = future.result()
        except ClusterUnavailable:
            return None  # no series without Redis; the next round tries again
        except Exception:  # a forecast that fails must not end a turn that could repair
            log.exception("no forecast for %s", name)
            return None
        if made.horizons_s and made.horizons_s[0] >= 3600.0:
            self._far.add(name)
        # One of whom nothing is recorded yet is not worth a line in the journal.
        return made if made.horizons_s or not name.startswith((TENANT, SERVE)) else None

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

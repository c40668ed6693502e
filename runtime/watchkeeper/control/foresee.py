"""Forecasts off the turn's thread: scikit-learn may take seconds, a turn may not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime

from watchkeeper.core.cluster import ClusterState
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.forecast import Forecast

log = logging.getLogger("watchkeeper.forecast")

Series = Sequence[tuple[float, float, float]]
"""(epoch seconds, running GPUs, pending GPUs), oldest first."""


class BackgroundForecaster:
    """One forecast per pool every `every_s`, one at a time. Meets `control.watch.Forecaster`."""

    def __init__(
        self,
        series: Callable[[str], Series],
        forecast: Callable[[str, Series, datetime], Forecast],
        every_s: float = 60.0,
    ) -> None:
        self._series = series
        self._forecast = forecast
        self._every_s = every_s
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forecast")
        self._running: dict[str, Future[Forecast]] = {}
        self._made_at: dict[str, datetime] = {}

    def collect(self, state: ClusterState, at: datetime) -> tuple[Forecast, ...]:
        """Forecasts that became ready; starts new ones when they are due. Never blocks."""
        ready = [pool for pool, future in self._running.items() if future.done()]
        done = tuple(f for pool in ready if (f := self._take(pool)) is not None)
        for demand in state.demand:
            last = self._made_at.get(demand.pool)
            due = last is None or (at - last).total_seconds() >= self._every_s
            if due and demand.pool not in self._running:
                self._made_at[demand.pool] = at
                self._running[demand.pool] = self._pool.submit(self._make, demand.pool, at)
        return done

    def _make(self, pool: str, at: datetime) -> Forecast:
        return self._forecast(pool, self._series(pool), at)

    def _take(self, pool: str) -> Forecast | None:
        future = self._running.pop(pool)
        try:
            return future.result()
        except ClusterUnavailable:
            return None  # no series without Redis; the next round tries again
        except Exception:  # a forecast that fails must not end a turn that could repair
            log.exception("no forecast for %s", pool)
            return None

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

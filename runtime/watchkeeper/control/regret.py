"""Measures what was planned for each pool against what it then needed, and writes that down.

Asked once a turn. Only pools with a forecast have a plan to be held against; elsewhere it does
nothing. What it counts meanwhile is a convenience: after a restart a stretch begins anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from watchkeeper.control.life import State
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import PoolScale
from watchkeeper.core.cluster import PoolDemand
from watchkeeper.core.event import Kind
from watchkeeper.core.facts import SERVICE_LEVEL, level_for, quantile_at
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.money import order_for
from watchkeeper.core.regret import Regret
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.word import plain

HOUR_S = 3600.0
LONGEST_S = 120.0
"""A gap between two turns that is longer than this is not counted: nobody looked."""


@dataclass
class Stretch:
    """One pool since the plan was made. GPU-seconds until it is told."""

    since: datetime
    begun: float
    last: float
    planned: float
    method: str
    needed: float = 0.0
    idle: float = 0.0
    short: float = 0.0
    had: float = 0.0
    counted: float = 0.0


def measure(watch: Watch, snapshot: Snapshot) -> None:
    """Count on from the last turn; write a stretch down when its hour is over."""
    books = watch.record.books
    if not books.forecasts:
        return
    for demand in snapshot.state.demand:
        forecast = books.forecasts.get(demand.pool)
        stretch = watch.stretches.get(demand.pool)
        if stretch is None:
            if forecast is not None:
                _begin(watch, demand, forecast, snapshot)
            continue
        _count(stretch, demand, snapshot.steady)
        if snapshot.steady - stretch.begun >= watch.review_s:
            found = _over(stretch, demand.pool, watch, snapshot)
            watch.record.write(Kind.REGRET, (f"pool:{demand.pool}",), regret=plain(found))
            del watch.stretches[demand.pool]
            if forecast is not None:
                _begin(watch, demand, forecast, snapshot)


def _begin(watch: Watch, demand: PoolDemand, forecast: Forecast, snapshot: Snapshot) -> None:
    policy = watch.policies.current()
    order = order_for(policy.capacity, demand.pool) if policy is not None else None
    level = level_for(forecast, SERVICE_LEVEL if order is None else order.service_level)
    wanted = [
        value
        for horizon in forecast.horizons_s
        if horizon <= HOUR_S
        and level is not None
        and (value := quantile_at(forecast, horizon, level)) is not None
    ]
    if not wanted:
        return  # it abstains: there is no plan
    watch.stretches[demand.pool] = Stretch(
        since=snapshot.at,
        begun=snapshot.steady,
        last=snapshot.steady,
        planned=max(wanted),
        method=forecast.method,
        needed=demand.running_gpus + demand.pending_gpus,
    )


def _count(stretch: Stretch, demand: PoolDemand, steady: float) -> None:
    passed, stretch.last = steady - stretch.last, steady
    stretch.needed = max(stretch.needed, demand.running_gpus + demand.pending_gpus)
    if not 0.0 < passed <= LONGEST_S:
        return
    stretch.counted += passed
    stretch.had += passed * demand.total_gpus
    stretch.idle += passed * max(0.0, demand.total_gpus - demand.running_gpus)
    stretch.short += passed * demand.pending_gpus


def _over(stretch: Stretch, pool: str, watch: Watch, snapshot: Snapshot) -> Regret:
    return Regret(
        pool=pool,
        since=stretch.since,
        until=snapshot.at,
        planned=round(stretch.planned, 1),
        had=round(stretch.had / stretch.counted, 1) if stretch.counted else 0.0,
        needed=round(stretch.needed, 1),
        idle=round(stretch.idle / HOUR_S, 3),
        short=round(stretch.short / HOUR_S, 3),
        method=stretch.method,
        added=_added(watch, pool, stretch.begun),
    )


def _added(watch: Watch, pool: str, since: float) -> int:
    """Nodes that came by our doing, since then."""
    count = 0
    for file in watch.record.books.past():  # newest first
        if file.effect is None or file.effect.started_steady < since:
            break
        if isinstance(file.action, PoolScale) and file.action.pool == pool:
            count += file.action.add if file.state is State.RECOVERED else 0
    return count

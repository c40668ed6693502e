"""Serving as a class of its own: from requests a second to GPUs, so that a latency goal is kept.

How much one replica carries is measured, never assumed: the highest rate at which the goal was
kept. A forecast of the rate then says how many replicas, and by when they must have been started.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from watchkeeper.core.forecast import Forecast

KEPT_SHARE = 0.95
"""A rate is carried when the goal was kept in this share of the minutes at that rate and below."""

FEWEST = 20
"""Minutes measured, below which nothing is said."""

BINS = 12


@dataclass(frozen=True, slots=True)
class Minute:
    """One measurement of a model server: requests a second over all replicas, replicas that were
    ready, and the latency of the percentile that the goal speaks of, in seconds."""

    rate: float
    replicas: int
    latency_s: float


@dataclass(frozen=True, slots=True)
class Goal:
    """What a model server promises. latency_s: of the goal's percentile. gpus: of one replica.
    start_s: from asking for a replica to its first answer. least: replicas that always run. level:
    the quantile of the forecast that is planned for."""

    latency_s: float
    gpus: float
    start_s: float
    least: int = 1
    level: float = 0.95


@dataclass(frozen=True, slots=True)
class Carried:
    """rate: requests a second that one replica carries within the goal. measured: minutes.
    reached: rates were seen at which the goal was missed; else this is only the highest rate seen,
    and more may be possible."""

    rate: float
    measured: int
    reached: bool


@dataclass(frozen=True, slots=True)
class ServingPlan:
    """replicas: wanted by the end of the start-up time, GPUs for them; by_hour: (seconds ahead,
    replicas). act_now: more are wanted than there are by when a new one would be ready, so waiting
    means missing the goal. why: in words."""

    replicas: int
    gpus: float
    by_hour: tuple[tuple[float, int], ...]
    act_now: bool
    why: str


def carried(minutes: Sequence[Minute], goal: Goal) -> Carried | None:
    """What one replica carries, from measurements in the order of time; None while they are too
    few, or where the goal was missed at every rate."""
    usable = [m for m in minutes if m.replicas > 0 and np.isfinite((m.rate, m.latency_s)).all()]
    busy = [m for m in _of_their_own(usable, goal) if m.rate > 0]
    if len(busy) < FEWEST:
        return None
    each = np.array([m.rate / m.replicas for m in busy])
    kept = np.array([m.latency_s <= goal.latency_s for m in busy])
    order = np.argsort(each)
    each, kept = each[order], kept[order]
    best, reached = 0.0, False
    for part in np.array_split(np.arange(len(each)), min(BINS, len(each) // 5)):
        if kept[part].mean() < KEPT_SHARE:
            reached = True
            break
        best = float(each[part[-1]])
    if best <= 0:
        return None
    return Carried(best, len(busy), reached)


def _of_their_own(minutes: Sequence[Minute], goal: Goal) -> list[Minute]:
    """Without those in which what had piled up before was answered: a minute that missed the goal
    right after one that missed it at a higher rate says nothing of its own rate."""
    found, before = [], None
    for each in minutes:
        missed = each.latency_s > goal.latency_s
        late = before is not None and before.latency_s > goal.latency_s
        if missed and late and before is not None and _each(each) < _each(before):
            before = Minute(before.rate, before.replicas, each.latency_s)  # it still piles up
            continue
        found.append(each)
        before = each
    return found


def _each(minute: Minute) -> float:
    return minute.rate / minute.replicas


def plan(rates: Forecast, now: int, can: Carried | None, goal: Goal) -> ServingPlan | str:
    """Replicas for the rates ahead. rates: a Forecast of requests a second. now: replicas that are
    ready or starting. A str says why nothing can be said."""
    if can is None:
        return "How much one replica carries within the goal was not measured yet."
    if not rates.horizons_s or goal.level not in rates.quantiles:
        return f"There is no forecast of the request rate at {goal.level:.0%}."
    column = rates.quantiles.index(goal.level)
    wanted = [row[column] for row in rates.values]
    by_hour = tuple(
        (horizon, max(goal.least, _replicas(rate, can)))
        for horizon, rate in zip(rates.horizons_s, wanted, strict=True)
    )
    # A horizon stands for the step that ends there: what a replica is wanted for begins before.
    soon = [n for h, n in by_hour if h <= goal.start_s] or [by_hour[0][1]]
    after = next((n for h, n in by_hour if h > goal.start_s), soon[-1])
    replicas = max(*soon, after)
    act = replicas > now
    return ServingPlan(
        replicas=replicas,
        gpus=replicas * goal.gpus,
        by_hour=by_hour,
        act_now=act,
        why=_says(replicas, now, max(wanted), can, goal, act=act),
    )


def _replicas(rate: float, can: Carried) -> int:
    return int(np.ceil(max(rate, 0.0) / can.rate - 1e-9))


def _says(replicas: int, now: int, rate: float, can: Carried, goal: Goal, *, act: bool) -> str:
    measured = f"one carries {can.rate:.3g}/s within {goal.latency_s:g} s"
    seen = "" if can.reached else ", the most that was seen"
    ahead = f"up to {rate:.3g} requests/s are expected at {goal.level:.0%}; {measured}{seen}"
    if not act:
        return f"{now} replicas are enough for the next {goal.start_s:g} s: {ahead}."
    return (
        f"{replicas} replicas are wanted, {now} are there, and a new one answers after "
        f"{goal.start_s:g} s: {ahead}."
    )

"""Nodes that a tenant will need at a known hour, and by then will not find: keep them in time.

Asked by the planner, which makes the threads, and by them. Only a need that comes back is foreseen
here: a forecast of that tenant over a week or more, better than persistence in its own backtest.
It asks once a day for each tenant; what orders would refuse is told, and not asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from watchkeeper.core.action import PoolReserve, kind_of, say
from watchkeeper.core.crew import Briefing, StepResult
from watchkeeper.core.facts import SERVICE_LEVEL, gpus_per_node, level_for, quantile_at
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.money import order_for
from watchkeeper.core.verdict import Decision
from watchkeeper_agents.hearing import hear_beside
from watchkeeper_agents.tools import Tools
from watchkeeper_agents.words import CrewSettings, Memory, Move, Turn, WorkItem

BY = "agent:scheduler"
TENANT = "tenant:"
"""Before a tenant's name: the name of its forecast."""

KEEP = "keep:"
RECURS_S = 7 * 86400.0
"""A need is taken to come back when the forecast of it was learned from so long a history."""

HOUR_S = 3600.0


class Need(NamedTuple):
    """Nodes that a tenant will likely want while its pool is full. says: the figures."""

    action: PoolReserve
    forecast: Forecast
    says: str


def to_keep(briefing: Briefing) -> Iterator[WorkItem]:
    """One work item for each tenant whose need comes back and would miss its nodes."""
    if "pool.reserve" not in briefing.serves:
        return
    for name in sorted(briefing.forecasts):
        thread = KEEP + name.removeprefix(TENANT)
        if not name.startswith(TENANT) or thread in briefing.busy:
            continue
        if (need := need_of(briefing, name.removeprefix(TENANT))) is not None:
            subject = f"pool:{need.action.pool}"
            yield WorkItem(thread=thread, agent="scheduler", subject=subject)


def keep(
    thread: str, memory: Memory, result: StepResult | None, tools: Tools, settings: CrewSettings
) -> Turn:
    """One turn of one tenant's need."""
    tenant = thread.removeprefix(KEEP)
    need = need_of(tools.briefing, tenant)
    if need is None:
        return Turn(memory=memory, move=Move(end="waiting", why=f"{tenant} needs nothing kept."))
    assert need.action.begin is not None
    day = f"{need.action.begin:%Y-%m-%d}"
    memory, why, said = hear_beside(memory, result, tools.snapshot.steady, day, settings)
    if why or memory.said == day:
        why = why or f"What {tenant} needs on {day} was asked for."
        return Turn(memory=memory, move=Move(end="waiting", why=why), thoughts=said)
    if unmet := tools.unmet(need.action):
        return Turn(memory=memory, move=Move(end="waiting", why=unmet))
    memory = msgspec.structs.replace(memory, said=day)
    would = tools.briefing.would
    if would is not None and would(need.action, "") is Decision.DENY:
        text = f"{need.says} No order lets it be kept; `watchkeeper reserve` asks for it."
        return Turn(memory=memory, move=Move(end="waiting", why=text), thoughts=(text,))
    draft = tools.propose(
        thread,
        need.action,
        by=BY,
        reason=need.says,
        confidence=round(min(1.0, need.forecast.coverage80 or 0.0), 3),
        rung=f"forecast: {kind_of(need.action)}",
        if_ignored=f"{tenant} waits like everybody else, while {need.action.pool} is full.",
        evidence=(TENANT + tenant,),
    )
    told = f"{need.says} Next: {say(need.action)}."
    return Turn(memory=memory, move=Move(draft=draft), thoughts=(told,))


def need_of(briefing: Briefing, tenant: str) -> Need | None:
    """The soonest hours in which it likely wants nodes that it does not hold, and its pool is full
    at the service level of the orders; None where none are foreseen, or nobody can say."""
    mine, snapshot = briefing.forecasts.get(TENANT + tenant), briefing.snapshot
    if mine is None or mine.history_s < RECURS_S or mine.drifted:
        return None
    if mine.score is None or mine.score >= 1.0:
        return None
    jobs = [job for job in snapshot.jobs.values() if job.tenant == tenant and job.pool]
    pools = {job.pool for job in jobs}
    pool = next(iter(pools)) if len(pools) == 1 else ""
    everyone, each = briefing.forecasts.get(pool), gpus_per_node(snapshot, pool)
    total = next((d.total_gpus for d in snapshot.state.demand if d.pool == pool), 0.0)
    order = order_for(briefing.capacity, pool)
    wanted_level = SERVICE_LEVEL if order is None else order.service_level
    level = None if everyone is None else level_for(everyone, wanted_level)
    if everyone is None or level is None or not each or not total:
        return None
    holds = sum(job.gpus for job in snapshot.running if job.tenant == tenant)
    hours: list[tuple[float, float, float]] = []
    for horizon in mine.horizons_s:
        likely, all_of = quantile_at(mine, horizon, 0.5), quantile_at(everyone, horizon, level)
        short = likely is not None and all_of is not None and all_of > total
        if short and likely is not None and all_of is not None and likely - holds >= each:
            hours.append((horizon, likely, all_of))
        elif hours:
            break
    if not hours:
        return None
    nodes = math.floor(min(likely for _, likely, _ in hours) / each)
    begin, until = _whole_hours(mine.made_at, hours[0][0], hours[-1][0], snapshot.at)
    if begin >= until or _has(briefing, tenant, pool, nodes * each, begin, until):
        return None
    action = PoolReserve(pool=pool, nodes=nodes, begin=begin, until=until, tenant=tenant)
    held = "" if mine.coverage80 is None else f"; its 80 % band held {mine.coverage80:.0%}"
    says = (
        f"{tenant} will likely want {min(h[1] for h in hours):.0f} GPUs in {pool} from "
        f"{begin:%H:%M} to {until:%H:%M} UTC and holds {holds:g}; {pool} has {total:g}, and "
        f"{max(h[2] for h in hours):.0f} are wanted then at the {level:.0%} quantile. In the "
        f"backtest {mine.method} lost {mine.score:.2f} of what persistence lost, over "
        f"{mine.origins} past moments of {mine.history_s / 86400:.0f} days{held}."
    )
    return Need(action, mine, says)


def _whole_hours(
    made_at: datetime, first_s: float, last_s: float, now: datetime
) -> tuple[datetime, datetime]:
    """A horizon stands for the hour that ends there."""
    begin = made_at + timedelta(seconds=max(0.0, first_s - HOUR_S))
    begin = max(begin.replace(minute=0, second=0, microsecond=0), now.replace(microsecond=0))
    until = made_at + timedelta(seconds=last_s)
    rest = until - until.replace(minute=0, second=0, microsecond=0)
    return begin, until - rest + (timedelta(hours=1) if rest else timedelta())


def _has(
    briefing: Briefing, tenant: str, pool: str, gpus: float, begin: datetime, until: datetime
) -> bool:
    """It has a word on these hours already, or may claim as much back by its own quota."""
    kept = any(
        r.pool == pool and r.tenant == tenant and r.begin < until and begin < r.until
        for r in briefing.snapshot.state.reserved
    )
    return kept or any(q.tenant == tenant and q.gpus >= gpus for q in briefing.quotas)

"""Plans replicas of each deployment from what was measured, what is forecast and what policy
promises, and writes a plan down when it says something else than the last.

Asked once a turn. It asks for nothing: the crew does, from the plan.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta

from msgspec.structs import replace

from watchkeeper.control.books import Books
from watchkeeper.control.watch import Watch
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.event import Kind
from watchkeeper.core.facts import level_for
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.serving import (
    PERCENTILES,
    SERVE,
    ServeOrder,
    ServePlan,
    Serving,
    serve_order,
)
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.word import plain
from watchkeeper.demand.serving import FEWEST, Carried, Goal, Minute, carried, plan

MINUTES = 3 * 24 * 60
"""So many minutes of each deployment speak for what one replica carries."""

MINUTE_S = 60.0
TOLD_EVERY = timedelta(hours=1)
"""A plan that says the same is written down this often, for pages that show its age."""


@dataclass
class Measured:
    """Minutes of one deployment: (requests a second, replicas, latency at each percentile)."""

    minutes: deque[tuple[float, ...]] = field(default_factory=lambda: deque(maxlen=MINUTES))
    last: float = -1e18
    made: ServePlan | None = None
    made_of: tuple[object, ...] = ()
    """The newest plan, and what it was made of: it is not made anew each turn."""


def plan_serving(watch: Watch, snapshot: Snapshot) -> None:
    """One plan for each deployment that is there, written where it is news."""
    policy = watch.policies.current()
    orders = dict(policy.serving) if policy is not None else {}
    for each in snapshot.state.serving:
        measured = _measured(watch, each)
        order = serve_order(orders, each.name)
        forecast = watch.record.books.forecasts.get(SERVE + each.name)
        of = (measured.last, forecast, order, each.pool, each.replicas, each.wanted, each.gpus)
        if measured.made is None or measured.made_of != of:
            measured.made, measured.made_of = _plan(each, order, forecast, measured), of
        made = measured.made
        before = watch.record.books.serving.get(each.name)
        if before is None or _news(before, made):
            watch.record.write(Kind.SERVING, (f"pool:{each.pool}",), plan=plain(made))


def _measured(watch: Watch, each: Serving) -> Measured:
    """What is known of it, with this minute where it is over; after a restart from Redis."""
    known = watch.served.get(each.name)
    if known is None:
        known = Measured()
        try:
            known.minutes.extend(m[1:] for m in watch.mirror.served(each.name))
        except ClusterUnavailable:
            return known  # asked again next turn
        watch.served[each.name] = known
    at = each.read_at.timestamp()
    if each.rate is not None and each.latency_s and at - known.last >= MINUTE_S:
        known.last = at
        known.minutes.append((each.rate, float(each.replicas), *each.latency_s))
    return known


def _plan(
    each: Serving, order: ServeOrder | None, forecast: Forecast | None, measured: Measured
) -> ServePlan:
    now = max(each.replicas, each.wanted)
    made = ServePlan(
        name=each.name,
        pool=each.pool,
        at=each.read_at,
        now=now,
        gpus=each.gpus,
        rate=each.rate,
        why="The orders promise no latency for it: its requests are counted, and nothing planned.",
    )
    if order is None:
        return made
    column = PERCENTILES.index(order.percentile)
    level = None if forecast is None else level_for(forecast, order.level)
    goal = Goal(
        latency_s=order.latency_s,
        gpus=each.gpus,
        start_s=order.start_s,
        least=order.least,
        level=order.level if level is None else level,
    )
    can = carried([Minute(m[0], int(m[1]), m[2 + column]) for m in measured.minutes], goal)
    made = replace(
        made,
        goal=f"{order.latency_s:g} s at {order.percentile} % ({order.where})",
        start_s=order.start_s,
        latency_s=each.latency_s[column] if each.latency_s else None,
        measured=len(measured.minutes),
    )
    if forecast is None:
        return replace(made, why="There is no forecast of its request rate yet.")
    found = plan(forecast, now, can, goal)
    if isinstance(found, str):
        return replace(made, why=_with_count(found, can, measured))
    assert can is not None
    return replace(
        made,
        replicas=found.replicas,
        carries=round(can.rate, 4),
        reached=can.reached,
        measured=can.measured,
        by_hour=found.by_hour,
        act_now=found.act_now,
        why=found.why,
    )


def _with_count(why: str, can: Carried | None, measured: Measured) -> str:
    if can is not None:
        return why
    known = len(measured.minutes)
    if known >= FEWEST:
        return (
            f"In {known} minutes the goal was missed at each rate, or too few spoke of their own."
        )
    return f"{why} {known} minutes of answers are known so far."


def plans_now(books: Books, snapshot: Snapshot) -> dict[str, ServePlan]:
    """The plans of what serves now: of a deployment that is gone nothing is asked for."""
    there = {each.name for each in snapshot.state.serving}
    return {name: plan for name, plan in books.serving.items() if name in there}


def serving_views(books: Books, snapshot: Snapshot) -> tuple[ServePlan, ...]:
    """The same for pages, by name, with the rate and the latency of the last look."""
    plans = plans_now(books, snapshot)
    return tuple(
        replace(plan, rate=each.rate, now=max(each.replicas, each.wanted))
        for each in snapshot.state.serving
        if (plan := plans.get(each.name)) is not None
    )


def _news(before: ServePlan, made: ServePlan) -> bool:
    """Whether people or the crew would read something else in it; figures that wobble are none."""
    told = ("pool", "now", "gpus", "goal", "replicas", "act_now", "start_s", "reached")
    if any(getattr(before, name) != getattr(made, name) for name in told):
        return True
    if (before.carries is None) is not (made.carries is None):
        return True
    if made.replicas is None and before.why.partition(".")[0] != made.why.partition(".")[0]:
        return True
    return made.at - before.at >= TOLD_EVERY

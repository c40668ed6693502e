"""Which capacity to take for a pool: forecast, policy and prices to a plan, or why there is none.

Asked by the command line, the page and the scheduler agent. It proposes nothing and takes nothing.
"""

from __future__ import annotations

from watchkeeper.capacity.ahead import Ahead, scenarios
from watchkeeper.capacity.problem import Plan, Problem, problem
from watchkeeper.capacity.solve import solve
from watchkeeper.core.capacity import CapacityPlan
from watchkeeper.core.money import CapacityOrder, PriceBook


def plan(
    demand: Ahead,
    order: CapacityOrder | None,
    book: PriceBook | None,
    have: int,
    money: float | None = None,
) -> CapacityPlan | str:
    """The least short, then cheapest capacity for the demand ahead; or one sentence that says what
    is missing. have: nodes that are there and stay. money: what may be spent in all, or None."""
    if order is None:
        return f"Policy sets no service level for {demand.pool} (`capacity`), so there is no plan."
    if book is None:
        return "There is no price book, so no plan can be the cheapest. Name one with --prices."
    price = book.of(demand.pool)
    if price is None or not price.offers:
        return f"The price book {book.name} offers no capacity for {demand.pool}."
    at = scenarios(demand, order.service_level)
    if at is None:
        return (
            f"Policy asks for a service level of {order.service_level:.1%} and the forecast knows "
            f"nothing above {demand.levels[-1]:.1%}, so there is no plan."
        )
    ask, notes = problem(order, price, have, at, money)
    found = solve(ask)
    return _told(demand, order, book, ask, found, (*notes, *found.notes))


def _told(
    demand: Ahead,
    order: CapacityOrder,
    book: PriceBook,
    ask: Problem,
    found: Plan,
    notes: tuple[str, ...],
) -> CapacityPlan:
    spot, held = int(found.spot.max(initial=0)), int(found.on_demand.max(initial=0))
    burst = int(found.burst[:, -1].max(initial=0))
    parts = [
        f"{found.reserved} reserved",
        f"up to {held} on demand",
        f"up to {spot} spot",
        f"up to {burst} burst",
    ]
    said = (
        f"{demand.pool}: beside the {ask.have} nodes that are there, {', '.join(parts)} over "
        f"{ask.hours} h hold the demand {order.service_level:.0%} of the time, for "
        f"{found.cost:,.2f} {book.currency} expected"
    )
    if found.short > 0.005:
        said += f"; {found.short:,.1f} GPU-hours would still fit nowhere"
    sure = "No plan is cheaper." if found.proved else "A cheaper plan may exist."
    return CapacityPlan(
        pool=demand.pool,
        service_level=order.service_level,
        hours=ask.hours,
        have=ask.have,
        gpus_per_node=ask.gpus,
        forecast=demand.method,
        wanted=tuple(round(x, 2) for x in ask.demand.gpus[:, -1].tolist()),
        reserved=found.reserved,
        on_demand=tuple(found.on_demand.tolist()),
        spot=tuple(found.spot.tolist()),
        burst=tuple(found.burst[:, -1].tolist()),
        cost=round(found.cost, 2),
        short=round(found.short, 3),
        currency=book.currency,
        prices=f"{book.name} {book.version}",
        method=found.method,
        proved=found.proved,
        notes=notes,
        says=f"{said}. {sure}",
    )

"""The question of capacity, its answer, and what an answer costs: shared by both who answer it.

One pool over H hours. Reserved, on-demand and spot nodes are taken ahead; burst nodes only in the
hour and scenario that need them. Whoever found a plan, `weigh` counts it and `flaws` checks it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from watchkeeper.capacity.ahead import Scenarios
from watchkeeper.core.money import CapacityOrder, Offer, PoolPrice

NONE = Offer(gpu_hour=0.0, nodes_at_most=0)
EPS = 1e-6


@dataclass(frozen=True, eq=False, slots=True)
class Problem:
    """have: nodes of the pool that are there and stay. most: nodes in all, have included.
    money: what the plan may cost in all, or None."""

    pool: str
    gpus: int
    have: int
    demand: Scenarios
    reserved: Offer
    on_demand: Offer
    spot: Offer
    burst: Offer
    spot_share: float
    most: int
    money: float | None = None

    @property
    def hours(self) -> int:
        return len(self.demand.gpus)

    @property
    def paid_h(self) -> float:
        """Hours that one reserved node is paid for: whole terms that cover the plan."""
        term = self.reserved.term_h
        return math.ceil(self.hours / term) * term if term else float(self.hours)


def problem(
    order: CapacityOrder,
    price: PoolPrice,
    have: int,
    demand: Scenarios,
    money: float | None = None,
) -> tuple[Problem, tuple[str, ...]]:
    """The question, and what is left out of it. A reservation longer than what is forecast is not
    decided: that would be a promise made on nothing."""
    notes = []
    reserved = price.offers.get("reserved", NONE)
    hours = len(demand.gpus)
    if reserved.term_h > hours:
        notes.append(
            f"A reservation lasts {reserved.term_h:g} h and the forecast {hours} h: whether to "
            "reserve cannot be told from it."
        )
        reserved = NONE
    if order.spot_share <= 0 and "spot" in price.offers:
        notes.append("Policy lets no planned node be spot (`spot_at_most`).")
    more = sum(offer.nodes_at_most for offer in price.offers.values())
    most = have + more if order.nodes_at_most is None else max(order.nodes_at_most, have)
    found = Problem(
        pool=order.pool,
        gpus=price.gpus_per_node,
        have=have,
        demand=demand,
        reserved=reserved,
        on_demand=price.offers.get("on_demand", NONE),
        spot=price.offers.get("spot", NONE) if order.spot_share > 0 else NONE,
        burst=price.offers.get("burst", NONE),
        spot_share=min(order.spot_share, 0.999),
        most=most,
        money=money,
    )
    return found, tuple(notes)


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """Nodes to take. reserved: for the whole time; on_demand, spot: i8[H]; burst: i8[H, S].

    cost: expected, of all that is taken. short: expected GPU-hours that fit nowhere. proved: no
    plan is shorter, and none as short is cheaper. method: who found it.
    """

    reserved: int
    on_demand: NDArray[np.int64]
    spot: NDArray[np.int64]
    burst: NDArray[np.int64]
    cost: float = 0.0
    short: float = 0.0
    method: str = "greedy"
    proved: bool = False
    notes: tuple[str, ...] = ()

    @property
    def rank(self) -> tuple[float, float]:
        """Less short first, then cheaper."""
        return (round(self.short, 4), round(self.cost, 4))


def cover(ask: Problem, plan: Plan) -> NDArray[np.float64]:
    """f8[H]: GPUs that are there before any burst; of spot only what is held."""
    firm = ask.have + plan.reserved + plan.on_demand
    return ask.gpus * (firm + ask.spot.holds * plan.spot)


def starts(nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """i8[H]: nodes taken anew in each hour."""
    return np.maximum(np.diff(nodes, prepend=0), 0)


def node_hours(nodes: NDArray[np.int64], at_least_h: int) -> float:
    """Node-hours paid for, those after the plan's end included that a late start owes."""
    left = len(nodes) - np.arange(len(nodes))
    return float(nodes.sum() + (starts(nodes) * np.maximum(at_least_h - left, 0)).sum())


def weigh(ask: Problem, plan: Plan) -> Plan:
    """The plan with its expected cost and shortage."""
    taken = ask.reserved.gpu_hour * plan.reserved * ask.paid_h
    taken += ask.on_demand.gpu_hour * node_hours(plan.on_demand, ask.on_demand.at_least_h)
    taken += ask.spot.gpu_hour * node_hours(plan.spot, ask.spot.at_least_h)
    taken += ask.burst.gpu_hour * float((plan.burst @ ask.demand.weight).sum())
    there = cover(ask, plan)[:, None] + ask.gpus * plan.burst
    short = np.maximum(ask.demand.gpus - there, 0.0)
    return replace(plan, cost=taken * ask.gpus, short=float((short @ ask.demand.weight).sum()))


def flaws(ask: Problem, plan: Plan) -> list[str]:
    """Every bound that a plan breaks; none for one that can be carried out."""
    found = []
    columns = (plan.on_demand, plan.spot, plan.burst)
    if plan.reserved < 0 or any((column < 0).any() for column in columns):
        found.append("a number of nodes is below nothing")
    for kind, most in (
        ("reserved", plan.reserved),
        ("on_demand", int(plan.on_demand.max(initial=0))),
        ("spot", int(plan.spot.max(initial=0))),
        ("burst", int(plan.burst.max(initial=0))),
    ):
        if most > getattr(ask, kind).nodes_at_most:
            found.append(f"more {kind} nodes than can be had")
    planned = ask.have + plan.reserved + plan.on_demand + plan.spot
    if (planned[:, None] + plan.burst).max(initial=0) > ask.most:
        found.append("more nodes than the pool may have")
    if (plan.spot > ask.spot_share * planned + EPS).any():
        found.append("a larger share of spot than policy lets")
    for offer, nodes in ((ask.on_demand, plan.on_demand), (ask.spot, plan.spot)):
        if not keeps(nodes, offer.at_least_h):
            found.append("a node is given back before its time")
    if ask.money is not None and weigh(ask, plan).cost > ask.money + EPS:
        found.append("more money than there is")
    return found


def keeps(nodes: NDArray[np.int64], at_least_h: int) -> bool:
    """Is every node kept for at least so long? Those started in the last `at_least_h` hours must
    all be there still."""
    begun = np.concatenate([[0], np.cumsum(starts(nodes))])
    since = np.maximum(np.arange(1, len(nodes) + 1) - at_least_h, 0)
    return bool((nodes >= begun[1:] - begun[since]).all())

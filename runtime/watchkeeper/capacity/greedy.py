"""A plan without a solver: hour by hour the cheapest mix, for each number of reserved nodes.

The fallback where OR-tools is missing or finds nothing in its time. What it returns can always be
carried out; how far it is from the best is measured in tests/properties/test_capacity_promises.py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from watchkeeper.capacity.ahead import Scenarios
from watchkeeper.capacity.problem import Plan, Problem, flaws, weigh

Ints = NDArray[np.int64]
FEW = 32
"""So many reserved nodes are tried one by one."""


def greedy(ask: Problem) -> Plan:
    """The least short, then cheapest, of the plans it tries. Beyond the money, demand is given up
    from the rarest scenario down; the last resort is to take nothing."""
    hours, count = ask.demand.gpus.shape
    for kept in range(count, 0, -1):
        part = Scenarios(ask.demand.gpus[:, :kept], ask.demand.weight[:kept])
        few = replace(ask, demand=part)
        found = [_widened(plan, count) for r in _reserved(few) for plan in _tries(few, r)]
        good = [weigh(ask, plan) for plan in found if not flaws(ask, plan)]
        if good:
            return min(good, key=lambda plan: plan.rank)
    nothing = np.zeros(hours, np.int64)
    return weigh(ask, Plan(0, nothing, nothing, np.zeros((hours, count), np.int64)))


def _widened(plan: Plan, count: int) -> Plan:
    """With no burst in the scenarios that are given up."""
    more = count - plan.burst.shape[1]
    return replace(plan, burst=np.pad(plan.burst, ((0, 0), (0, more))))


def _reserved(ask: Problem) -> list[int]:
    """Numbers of reserved nodes worth a try: all of a few; of many, where one more would first
    cover something."""
    most = min(ask.reserved.nodes_at_most, ask.most - ask.have)
    if most <= FEW:
        return list(range(most + 1))
    needed = np.ceil(ask.demand.gpus / ask.gpus).astype(np.int64) - ask.have
    return sorted({0, most, *np.clip(needed, 0, most).ravel().tolist()})


def _tries(ask: Problem, reserved: int) -> list[Plan]:
    """Hour by hour and kept to its least times; the same all the time; and only burst."""
    hours = ask.hours
    free = _mixes(ask, reserved)
    best = np.argmin(free.cost, axis=1)
    rows = np.arange(hours)
    by_hour = (free.on_demand[best], free.spot[rows, best])
    kept = (
        _kept(by_hour[0], ask.on_demand.at_least_h),
        _kept(by_hour[1], ask.spot.at_least_h),
    )
    level = int(free.on_demand[np.argmin(free.cost.sum(axis=0))])
    flat = (np.full(hours, level), np.full(hours, int(free.spot[:, level].max(initial=0))))
    none = np.zeros(hours, np.int64)
    pairs = [kept, flat, (flat[0], none), (kept[0], none), (none, none)]
    return [_with_burst(ask, reserved, d, s) for d, s in pairs]


class _Mixes:
    """on_demand: i8[D]; spot: i8[H, D], the best beside it; cost: f8[H, D] of the hour."""

    def __init__(self, on_demand: Ints, spot: Ints, cost: NDArray[np.float64]) -> None:
        self.on_demand, self.spot, self.cost = on_demand, spot, cost


def _mixes(ask: Problem, reserved: int) -> _Mixes:
    """What each number of on-demand nodes would cost in each hour, with the best of the few
    numbers of spot nodes that just cover a scenario. Least times are left out here."""
    most = max(0, min(ask.on_demand.nodes_at_most, ask.most - ask.have - reserved))
    on_demand = np.arange(most + 1)
    firm = ask.have + reserved + on_demand
    allowed = np.floor(ask.spot_share / (1 - ask.spot_share) * firm + 1e-9).astype(np.int64)
    allowed = np.minimum(np.minimum(allowed, ask.spot.nodes_at_most), ask.most - firm)
    lacking = ask.demand.gpus[:, None, :] - (ask.gpus * firm)[None, :, None]
    wanted = np.ceil(np.maximum(lacking, 0.0) / (ask.gpus * ask.spot.holds)).astype(np.int64)
    tries = np.concatenate([np.zeros((*wanted.shape[:2], 1), np.int64), wanted], axis=2)
    tries = np.minimum(tries, np.maximum(allowed, 0)[None, :, None])
    costs = np.stack(
        [_hour_cost(ask, firm, on_demand, tries[:, :, i]) for i in range(tries.shape[2])], axis=2
    )
    pick = np.argmin(costs, axis=2)
    spot = np.take_along_axis(tries, pick[:, :, None], axis=2)[:, :, 0]
    return _Mixes(on_demand, spot, np.take_along_axis(costs, pick[:, :, None], axis=2)[:, :, 0])


def _hour_cost(ask: Problem, firm: Ints, on_demand: Ints, spot: Ints) -> NDArray[np.float64]:
    """f8[H, D]: what an hour of this mix costs; a GPU-hour short is dearer than anything."""
    there = ask.gpus * (firm[None, :] + ask.spot.holds * spot)
    burst = _burst(ask, there, firm[None, :] + spot)
    short = np.maximum(ask.demand.gpus[:, None, :] - there[:, :, None] - ask.gpus * burst, 0.0)
    taken = ask.on_demand.gpu_hour * on_demand[None, :] + ask.spot.gpu_hour * spot
    price = taken + ask.burst.gpu_hour * (burst @ ask.demand.weight)
    cost: NDArray[np.float64] = ask.gpus * price + 1e6 * (short @ ask.demand.weight)
    return cost


def _burst(ask: Problem, there: NDArray[np.float64], nodes: Ints) -> Ints:
    """Burst nodes by scenario (last axis) for what is not covered, as far as there are any."""
    lacking = ask.demand.gpus[:, None, :] - there[:, :, None]
    wanted = np.ceil(np.maximum(lacking, 0.0) / ask.gpus - 1e-9).astype(np.int64)
    room = np.clip(ask.most - nodes, 0, ask.burst.nodes_at_most)
    return np.minimum(wanted, room[:, :, None])


def _kept(wanted: Ints, at_least_h: int) -> Ints:
    """The least numbers that are never below what is wanted, with every node kept its time."""
    if at_least_h <= 1:
        return wanted.astype(np.int64)
    found = np.zeros(len(wanted), np.int64)
    begun = np.zeros(len(wanted), np.int64)
    for hour in range(len(wanted)):
        young = int(begun[max(0, hour - at_least_h + 1) : hour].sum())
        before = int(found[hour - 1]) if hour else 0
        found[hour] = max(int(wanted[hour]), young)
        begun[hour] = max(0, int(found[hour]) - before)
    return found


def _with_burst(ask: Problem, reserved: int, on_demand: Ints, spot: Ints) -> Plan:
    firm = ask.have + reserved + on_demand
    there = ask.gpus * (firm + ask.spot.holds * spot)
    burst = _burst(ask, there[:, None], (firm + spot)[:, None])[:, 0, :]
    return Plan(reserved, on_demand.astype(np.int64), spot.astype(np.int64), burst)

"""The cheapest plan that is least short, by CP-SAT: one worker, a fixed seed, deterministic time.

The same question gives the same plan on every machine. Where OR-tools is missing, or has found
nothing better within its time, the greedy plan stands and says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from watchkeeper.capacity.greedy import greedy
from watchkeeper.capacity.problem import Plan, Problem, flaws, weigh

SEED = 7
TIME = 2.0
"""Deterministic time of each search (about a second of one core each; no clock is read)."""
CENTI = 100
"""Demand is counted in hundredths of a GPU, rounded up; what covers it, rounded down."""
MILLI = 1000
"""Money and chances are counted in thousandths."""


def solve(ask: Problem, time: float = TIME) -> Plan:
    """Least short first, then cheapest; within the money, where there is a bound."""
    fallback = greedy(ask)
    try:
        from ortools.sat.python import cp_model
    except ImportError:
        why = "OR-tools is not installed, so this plan may not be the cheapest."
        return replace(fallback, notes=(why,))
    shortest = _Model(ask, cp_model)
    least = shortest.least_short(fallback, time)
    cheapest = _Model(ask, cp_model)
    found, proved = cheapest.cheapest(fallback, least, time)
    plans = [fallback, *([found] if found is not None and not flaws(ask, found) else [])]
    best = min(plans, key=lambda plan: plan.rank)
    if best is fallback and not proved:
        why = "No better plan was found in the time given; this one may not be the cheapest."
        return replace(fallback, notes=(why,))
    return replace(best, method="cp-sat", proved=proved and least is not None)


class _Model:
    """One CP-SAT model of the problem: variables, and every bound of `flaws`."""

    def __init__(self, ask: Problem, cp_model: Any) -> None:
        self.ask, self.cp = ask, cp_model
        self.model = cp_model.CpModel()
        hours, count = ask.demand.gpus.shape
        self.reserved = self._var("reserved", ask.reserved.nodes_at_most)
        self.on_demand = [self._var("d", ask.on_demand.nodes_at_most) for _ in range(hours)]
        self.spot = [self._var("s", ask.spot.nodes_at_most) for _ in range(hours)]
        self.burst = [
            [self._var("b", ask.burst.nodes_at_most) for _ in range(count)] for _ in range(hours)
        ]
        self.owed = [
            self._at_least(self.on_demand, ask.on_demand.at_least_h),
            self._at_least(self.spot, ask.spot.at_least_h),
        ]
        self.short = [self._hour(hour) for hour in range(hours)]
        if ask.money is not None:
            self.model.add(self._cost() <= int(ask.money * MILLI * MILLI + 1))

    def _var(self, name: str, most: int) -> Any:
        return self.model.new_int_var(0, max(0, int(most)), name)

    def _at_least(self, nodes: list[Any], least: int) -> Any:
        """Every node is kept its time; returns the node-hours owed after the plan's end."""
        if least <= 1:
            return 0
        begun = [self._var("begun", self.ask.most) for _ in nodes]
        for hour, now in enumerate(nodes):
            before = nodes[hour - 1] if hour else 0
            self.model.add(begun[hour] >= now - before)
            self.model.add(now >= sum(begun[max(0, hour - least + 1) : hour + 1]))
        hours = len(nodes)
        return sum(b * max(0, least - (hours - hour)) for hour, b in enumerate(begun))

    def _hour(self, hour: int) -> list[Any]:
        """The bounds of one hour; returns what is short in each scenario, in centi-GPUs."""
        ask = self.ask
        firm = ask.have + self.reserved + self.on_demand[hour]
        nodes = firm + self.spot[hour]
        share = int(ask.spot_share * MILLI + 1e-6)
        self.model.add(MILLI * self.spot[hour] <= share * nodes)
        held = int(ask.gpus * ask.spot.holds * CENTI + 1e-6)
        short = []
        for k, burst in enumerate(self.burst[hour]):
            self.model.add(nodes + burst <= ask.most)
            wanted = int(np.ceil(ask.demand.gpus[hour, k] * CENTI - 1e-6))
            lacks = self.model.new_int_var(0, max(0, wanted), "short")
            there = CENTI * ask.gpus * (firm + burst) + held * self.spot[hour]
            self.model.add(there + lacks >= wanted)
            short.append(lacks)
        return short

    def _weights(self) -> list[int]:
        return [max(1, round(w * MILLI)) for w in self.ask.demand.weight.tolist()]

    def _shortage(self) -> Any:
        weights = self._weights()
        return sum(w * lacks for row in self.short for w, lacks in zip(weights, row, strict=True))

    def _cost(self) -> Any:
        """In millionths of the currency: thousandths of a price times thousandths of a chance."""
        ask = self.ask
        weights = self._weights()

        def price(each: float) -> int:
            return round(each * ask.gpus * MILLI)

        taken = price(ask.reserved.gpu_hour * ask.paid_h) * self.reserved
        taken += price(ask.on_demand.gpu_hour) * (sum(self.on_demand) + self.owed[0])
        taken += price(ask.spot.gpu_hour) * (sum(self.spot) + self.owed[1])
        burst = sum(w * b for row in self.burst for w, b in zip(weights, row, strict=True))
        return MILLI * taken + price(ask.burst.gpu_hour) * burst

    def _search(self, objective: Any, hint: Plan, time: float) -> tuple[Any, int]:
        self.model.minimize(objective)
        self._hint(hint)
        solver = self.cp.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = SEED
        solver.parameters.max_deterministic_time = time
        return solver, solver.solve(self.model)

    def _hint(self, plan: Plan) -> None:
        self.model.add_hint(self.reserved, plan.reserved)
        for hour in range(self.ask.hours):
            self.model.add_hint(self.on_demand[hour], int(plan.on_demand[hour]))
            self.model.add_hint(self.spot[hour], int(plan.spot[hour]))
            for k, burst in enumerate(self.burst[hour]):
                self.model.add_hint(burst, int(plan.burst[hour, k]))

    def least_short(self, hint: Plan, time: float) -> int | None:
        """The least weighted shortage that there is; None where it was not proved."""
        if hint.short <= 1e-6:
            return 0
        solver, status = self._search(self._shortage(), hint, time)
        return round(solver.objective_value) if status == self.cp.OPTIMAL else None

    def cheapest(self, hint: Plan, least: int | None, time: float) -> tuple[Plan | None, bool]:
        """(the cheapest plan that is no shorter, is it proved?). Without a proven least shortage,
        no shorter than the hint."""
        if least is not None:
            self.model.add(self._shortage() <= least)
        else:
            bound = int(np.ceil(hint.short * CENTI * MILLI)) + len(self.short) * MILLI
            self.model.add(self._shortage() <= bound)
        solver, status = self._search(self._cost(), hint, time)
        if status not in (self.cp.OPTIMAL, self.cp.FEASIBLE):
            return None, False
        hours = range(self.ask.hours)
        found = Plan(
            reserved=solver.value(self.reserved),
            on_demand=np.array([solver.value(self.on_demand[h]) for h in hours], np.int64),
            spot=np.array([solver.value(self.spot[h]) for h in hours], np.int64),
            burst=np.array([[solver.value(b) for b in row] for row in self.burst], np.int64),
        )
        return weigh(self.ask, found), status == self.cp.OPTIMAL

"""Promises of the capacity plan, held against every plan there is on small questions."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.capacity.ahead import Scenarios
from watchkeeper.capacity.greedy import greedy
from watchkeeper.capacity.problem import Plan, Problem, cover, flaws, keeps, weigh
from watchkeeper.capacity.solve import solve
from watchkeeper.core.money import Offer

GAP = 1.25
"""Without a bound of money the greedy plan is as little short as the best, and costs at most so
many times as much. With one it may be shorter than need be: then only that it can be carried out is
promised."""


def price(draw: st.DrawFn) -> float:
    return draw(st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0, 5.0]))


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Two or three hours, two or three scenarios, at most two nodes of a kind: few enough to try
    every plan."""
    hours = draw(st.integers(2, 3))
    count = draw(st.integers(1, 3 if hours == 2 else 2))
    few = 2 if hours == 2 else 1
    wanted = draw(
        st.lists(
            st.lists(st.integers(0, 14), min_size=count, max_size=count),
            min_size=hours,
            max_size=hours,
        )
    )
    weight = np.array({1: [0.9], 2: [0.5, 0.4], 3: [0.3, 0.4, 0.2]}[count])
    term = draw(st.sampled_from([0.0, 2.0]))
    return Problem(
        pool="p",
        gpus=draw(st.sampled_from([2, 4])),
        have=draw(st.integers(0, 2)),
        demand=Scenarios(np.sort(np.array(wanted, np.float64), axis=1), weight),
        reserved=Offer(gpu_hour=price(draw), nodes_at_most=draw(st.integers(0, 2)), term_h=term),
        on_demand=Offer(
            gpu_hour=price(draw),
            nodes_at_most=draw(st.integers(0, few)),
            at_least_h=draw(st.integers(1, 3)),
        ),
        spot=Offer(
            gpu_hour=price(draw),
            nodes_at_most=draw(st.integers(0, 1)),
            at_least_h=draw(st.integers(1, 2)),
            holds=draw(st.sampled_from([0.5, 1.0])),
        ),
        burst=Offer(gpu_hour=price(draw), nodes_at_most=draw(st.integers(0, 2))),
        spot_share=draw(st.sampled_from([0.0, 0.5])),
        most=draw(st.integers(2, 7)),
        money=draw(st.sampled_from([None, None, 6.0, 30.0])),
    )


def every_plan(ask: Problem) -> list[Plan]:
    """All that can be carried out, with every number of burst nodes that could be of use."""
    found = []
    shape = ask.demand.gpus.shape
    for reserved in range(ask.reserved.nodes_at_most + 1):
        for d in itertools.product(range(ask.on_demand.nodes_at_most + 1), repeat=ask.hours):
            if not keeps(np.array(d), ask.on_demand.at_least_h):
                continue
            for s in itertools.product(range(ask.spot.nodes_at_most + 1), repeat=ask.hours):
                burst = np.zeros(shape, np.int64)
                bare = Plan(reserved, np.array(d), np.array(s), burst)
                if flaws(replace(ask, money=None), bare):
                    continue
                found += _with_burst(ask, bare)
    return found


def _with_burst(ask: Problem, bare: Plan) -> list[Plan]:
    """With all the burst that is of use; where money is short, with each part of it."""
    lacks = ask.demand.gpus - cover(ask, bare)[:, None]
    nodes = ask.have + bare.reserved + bare.on_demand + bare.spot
    room = np.clip(ask.most - nodes, 0, ask.burst.nodes_at_most)[:, None]
    most = np.minimum(np.ceil(np.maximum(lacks, 0) / ask.gpus), room).astype(np.int64)
    whole = weigh(ask, replace(bare, burst=most))
    if ask.money is None or whole.cost <= ask.money:
        return [whole]
    parts = itertools.product(*(range(n + 1) for n in most.ravel().tolist()))
    plans = (
        weigh(ask, replace(bare, burst=np.array(part, np.int64).reshape(most.shape)))
        for part in itertools.islice(parts, 1000)
    )
    return [plan for plan in plans if plan.cost <= ask.money + 1e-9]


def best(ask: Problem) -> Plan:
    return min(every_plan(ask), key=lambda plan: plan.rank)


@settings(max_examples=25, deadline=None)
@given(problems())
def test_the_solver_finds_the_best_of_all_plans(ask: Problem) -> None:
    found, least = solve(ask), best(ask)
    assert flaws(ask, found) == []
    assert found.proved
    assert found.short <= least.short + 0.02  # it counts in hundredths of a GPU
    if found.short > least.short - 1e-6:
        assert found.cost <= least.cost + 0.02


@settings(max_examples=30, deadline=None)
@given(problems())
def test_the_greedy_plan_can_be_carried_out_and_is_near_the_best(ask: Problem) -> None:
    found = greedy(ask)
    assert flaws(ask, found) == []
    if ask.money is None:
        least = best(ask)
        assert found.short <= least.short + 1e-6
        assert found.cost <= GAP * least.cost + 1e-6

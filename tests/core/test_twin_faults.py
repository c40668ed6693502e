"""The draw of faults: the same seed gives the same; nodes differ; domains fall whole."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from watchkeeper.core.word import canonical
from watchkeeper.twin.faults import (
    BURN_IN,
    RELAPSE_WITHIN_S,
    draw_faults,
    node_rates,
    relapse,
)
from watchkeeper.twin.laws import by_name, laws
from watchkeeper.twin.noise import draw_noise
from watchkeeper.twin.topology import build
from watchkeeper.twin.words import DAY_S, FaultLaw, Hurt, Scope, TrueFault, TwinSpec

ROOT = Path(__file__).parents[2]
MONTHS = TwinSpec(seed=7, nodes=2048, days=54.0)


@dataclass(frozen=True)
class Draw:
    spec: TwinSpec
    faults: tuple[TrueFault, ...]


@pytest.fixture(scope="module")
def draws() -> tuple[Draw, ...]:
    specs = [replace(MONTHS, seed=seed) for seed in range(20)]
    return tuple(Draw(spec, draw_faults(spec, laws())) for spec in specs)


def fingerprint(spec: TwinSpec) -> str:
    return hashlib.sha256(canonical((draw_faults(spec, laws()), draw_noise(spec)))).hexdigest()


def test_the_same_seed_gives_the_same_faults_to_the_byte() -> None:
    assert fingerprint(MONTHS) == fingerprint(MONTHS)


def test_another_process_with_other_hashes_draws_the_same() -> None:
    code = "from tests.core.test_twin_faults import MONTHS, fingerprint; print(fingerprint(MONTHS))"
    env = {**os.environ, "PYTHONHASHSEED": "99"}
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env, cwd=ROOT
    )
    assert told.stdout.strip() == fingerprint(MONTHS)


def test_another_seed_gives_other_faults() -> None:
    assert draw_faults(MONTHS, laws()) != draw_faults(replace(MONTHS, seed=8), laws())


@pytest.mark.parametrize("change", [{"noise": False}, {"noise_level": 5.0}], ids=["off", "more"])
def test_noise_does_not_move_the_faults(change: dict[str, object]) -> None:
    other = replace(MONTHS, **change)
    assert draw_noise(other) != draw_noise(MONTHS)
    assert draw_faults(other, laws()) == draw_faults(MONTHS, laws())


def test_a_class_that_is_left_out_does_not_move_those_before_it() -> None:
    kept = laws()[:-1]
    fewer, all_ = draw_faults(MONTHS, kept), draw_faults(MONTHS, laws())
    left_out = laws()[-1].name
    assert [replace(f, id=0) for f in fewer] == [
        replace(f, id=0) for f in all_ if f.law != left_out
    ]


def test_no_faults_where_they_are_switched_off() -> None:
    assert draw_faults(replace(MONTHS, faults=False), laws()) == ()


def test_acceleration_multiplies_their_number() -> None:
    few = len(draw_faults(MONTHS, laws()))
    many = len(draw_faults(replace(MONTHS, acceleration=10.0), laws()))
    assert 9 < many / few < 11


@given(
    seed=st.integers(0, 2**32),
    nodes=st.integers(1, 300),
    gpus=st.integers(1, 8),
    days=st.floats(0.1, 60),
)
@settings(max_examples=40, deadline=None)
def test_every_fault_lies_in_the_fleet_and_in_the_run(
    seed: int, nodes: int, gpus: int, days: float
) -> None:
    spec = TwinSpec(seed=seed, nodes=nodes, gpus_per_node=gpus, days=days, acceleration=20.0)
    faults = draw_faults(spec, laws())
    assert [f.id for f in faults] == list(range(len(faults)))
    assert [f.at_s for f in faults] == sorted(f.at_s for f in faults)
    for fault in faults:
        law = by_name()[fault.law]
        assert 0 <= fault.at_s <= days * DAY_S < float("inf")
        assert fault.ends_s > fault.at_s
        assert fault.nodes
        assert 0 <= min(fault.nodes) <= max(fault.nodes) < nodes
        assert (0 <= fault.gpu < gpus) if law.scope is Scope.GPU else fault.gpu == -1
        assert fault.first in (law.shows[0], *law.misleading)
        assert fault.blames == -1 or (fault.blames != fault.gpu and 0 <= fault.blames < gpus)
        assert 0 <= fault.luck < 1
        assert set(fault.also) <= set(law.co_shows)


def test_most_nodes_fail_half_as_often_as_the_mean(draws: tuple[Draw, ...]) -> None:
    medians = [float(np.median(node_rates(d.spec).multiplier)) for d in draws]
    assert 0.3 < np.mean(medians) < 0.5


def test_one_to_two_percent_of_nodes_are_lemons_that_fail_twenty_to_fifty_times_as_often(
    draws: tuple[Draw, ...],
) -> None:
    for draw in draws:
        rates = node_rates(draw.spec)
        assert 0.01 <= rates.lemon.mean() <= 0.02
        assert rates.multiplier[rates.lemon].min() > 18
        assert rates.multiplier[rates.lemon].max() < 52
        assert rates.multiplier[~rates.lemon].max() < 10


@given(seed=st.integers(0, 1000), nodes=st.integers(1, 3000), days=st.floats(0.5, 90))
@settings(max_examples=50, deadline=None)
def test_the_mean_over_nodes_and_time_stays_one(seed: int, nodes: int, days: float) -> None:
    rates = node_rates(TwinSpec(seed=seed, nodes=nodes, days=days))
    young = np.minimum(rates.young_until_s, days * DAY_S) / (days * DAY_S)
    assert np.mean(rates.multiplier * (1 + (BURN_IN - 1) * young)) == pytest.approx(1.0)


def test_lemons_have_their_share_of_hardware_faults_and_no_more_of_software(
    draws: tuple[Draw, ...],
) -> None:
    hits: Counter[tuple[bool, Scope]] = Counter()
    for draw in draws:
        lemon = node_rates(draw.spec).lemon
        hits.update((bool(lemon[f.nodes[0]]), by_name()[f.law].scope) for f in draw.faults)
    hardware = hits[True, Scope.GPU] / (hits[True, Scope.GPU] + hits[False, Scope.GPU])
    software = hits[True, Scope.JOB] / (hits[True, Scope.JOB] + hits[False, Scope.JOB])
    assert 0.45 < hardware < 0.60
    assert software < 0.03


def test_young_nodes_fail_three_times_as_often_while_they_are_young() -> None:
    rate = np.zeros(2)
    time = np.zeros(2)
    for seed in range(10):
        spec = replace(MONTHS, seed=seed, acceleration=20.0)
        rates = node_rates(spec)
        until = rates.young_until_s
        time += (
            float((rates.multiplier * until).sum()),
            float((rates.multiplier * (54 * DAY_S - until))[until > 0].sum()),
        )
        for fault in draw_faults(spec, laws()):
            node = fault.nodes[0]
            if until[node] > 0 and by_name()[fault.law].scope in (Scope.GPU, Scope.NODE):
                rate[0 if fault.at_s < until[node] else 1] += 1
    young, grown = rate / time
    assert young / grown == pytest.approx(3.0, rel=0.1)


def test_a_domain_falls_whole_and_alone() -> None:
    spec = replace(MONTHS, acceleration=30.0)
    fleet, seen = build(spec), set()
    for fault in draw_faults(spec, laws()):
        scope = by_name()[fault.law].scope
        if scope in (Scope.RACK, Scope.LEAF, Scope.FEED, Scope.STORAGE):
            seen.add(scope)
            numbers = set(fleet.group(scope)[list(fault.nodes)].tolist())
            assert len(numbers) == 1
            assert fault.nodes == fleet.members(scope, numbers.pop())
        elif scope is Scope.FLEET:
            seen.add(scope)
            racks = set(fleet.rack[list(fault.nodes)].tolist())
            assert 0.01 <= len(racks) / len(fleet.racks) <= 0.11
            whole = np.flatnonzero(np.isin(fleet.rack, list(racks)))
            assert fault.nodes == tuple(whole.tolist()), "rack by rack, each of them whole"
        else:
            assert len(fault.nodes) == 1
    assert seen == {Scope.RACK, Scope.LEAF, Scope.FEED, Scope.STORAGE, Scope.FLEET}


def test_misled_and_transient_faults_are_drawn_as_often_as_their_laws_say() -> None:
    spec = replace(MONTHS, acceleration=20.0)
    faults = draw_faults(spec, laws())
    sums = np.zeros(4)
    for fault in faults:
        law = by_name()[fault.law]
        misled = fault.first != law.shows[0] or fault.blames >= 0
        sums += (misled, law.misleads, fault.ends_s < float("inf"), law.transient)
    assert sums[0] == pytest.approx(sums[1], rel=0.08)
    assert sums[2] == pytest.approx(sums[3], rel=0.05)


def test_an_nvlink_fault_may_blame_the_innocent_end() -> None:
    faults = draw_faults(replace(MONTHS, acceleration=20.0), laws())
    blaming = [f for f in faults if f.blames >= 0]
    assert blaming
    assert {(f.law, f.first) for f in blaming} == {("nvlink_link", "xid.74")}


# Relapse.

LINK = by_name()["nvlink_link"]
CURED = TrueFault(id=3, law=LINK.name, at_s=100.0, nodes=(5,), gpu=2, luck=0.1, first="xid.45")


def test_a_cured_fault_comes_back_within_seven_days_when_its_luck_says_so() -> None:
    again = relapse(CURED, LINK, 1000.0, MONTHS, 900)
    assert again is not None
    assert (again.id, again.relapse_of, again.nodes, again.gpu) == (900, 3, (5,), 2)
    assert again.at_s == pytest.approx(1000.0 + RELAPSE_WITHIN_S * 0.1 / LINK.relapse)
    assert again.ends_s == float("inf")
    assert again.first == LINK.shows[0]


def test_the_same_cure_gives_the_same_relapse_whatever_came_before() -> None:
    one = relapse(CURED, LINK, 1000.0, MONTHS, 900)
    other = relapse(CURED, LINK, 1000.0, MONTHS, 31)
    assert one is not None
    assert other is not None
    assert replace(one, id=0) == replace(other, id=0)


@pytest.mark.parametrize(
    ("luck", "law"),
    [(0.99, LINK), (LINK.relapse, LINK), (0.0, by_name()["gpu_board_dead"])],
    ids=["good luck", "just enough luck", "a class without relapse"],
)
def test_a_cured_fault_stays_away_otherwise(luck: float, law: FaultLaw) -> None:
    assert relapse(replace(CURED, luck=luck), law, 1000.0, MONTHS, 900) is None


def test_relapses_end_and_come_as_often_as_the_law_says() -> None:
    back, asked, longest = 0, 0, 0
    for fault_id in range(3000):
        fault: TrueFault | None = replace(CURED, id=fault_id, luck=(fault_id + 0.5) / 3000)
        chain = 0
        while fault is not None:
            asked += 1
            fault = relapse(fault, LINK, fault.at_s + 60, MONTHS, 5000)
            back += fault is not None
            chain += 1
        longest = max(longest, chain)
    assert back / asked == pytest.approx(LINK.relapse, rel=0.1)
    assert 2 < longest < 20


# The fleet.


def test_ten_thousand_nodes_are_built_with_every_domain_named() -> None:
    fleet = build(TwinSpec(seed=1, nodes=10_000))
    assert len(fleet) == len(set(fleet.names)) == len(set(fleet.nvlink_domain)) == 10_000
    assert fleet.domains_of(9_999) == {
        "pool": "serve",
        "rack": "rack-625",
        "leaf": "leaf-313",
        "power_feed": "feed-157",
        "zone": "zone-10",
        "nvlink_domain": "nvl-serve-00992",
    }
    assert len(fleet.members(Scope.RACK, 0)) == 16
    assert fleet.index[fleet.names[4321]] == 4321
    assert not set(fleet.in_pool("train")) & set(fleet.in_pool("serve"))
    assert fleet.in_pool("nowhere").size == 0


@pytest.mark.parametrize("nodes", [1, 2, 4, 9, 16, 17, 100, 256, 2048])
def test_a_fleet_of_any_size_has_a_training_pool_and_spares_in_proportion(nodes: int) -> None:
    fleet = build(TwinSpec(seed=1, nodes=nodes))
    train, serve = fleet.in_pool("train"), fleet.in_pool("serve")
    assert len(train) + len(serve) == nodes
    assert len(train) > 0.8 * nodes - 1
    assert fleet.spare.sum() <= 0.02 * nodes + 2
    assert nodes < 8 or fleet.spare[train].any()


def test_spares_do_not_share_a_rack_while_there_are_racks_enough() -> None:
    fleet = build(MONTHS)
    racks = fleet.rack[fleet.spare].tolist()
    assert len(racks) == len(set(racks))


def test_harmless_classes_are_drawn_too() -> None:
    drawn = {by_name()[f.law].hurts for f in draw_faults(MONTHS, laws())}
    assert drawn == set(Hurt)

"""Canary and waves, patience, eviction and spares: the arithmetic of repair."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core import sick_cluster as c

from watchkeeper.core.fault import Fault
from watchkeeper.remedy.evict import choice, group_of
from watchkeeper.remedy.patience import (
    Stake,
    loss_now,
    loss_waiting,
    stake_of,
    worth_waiting_s,
)
from watchkeeper.remedy.spares import away, measured, poisson_quantile, spares_for
from watchkeeper.remedy.waves import MOST, Gone, Item, Result, may_go, room

OK, BAD, RUNS, WORSE = Result.VERIFIED, Result.FAILED, Result.UNDER_WAY, Result.WORSE


def gone(*results, kind="node.reboot", fault="pcie"):
    return [Gone(kind=kind, fault=fault, result=r) for r in results]


def waiting(count, kind="node.reboot", fault="pcie", domains=False):
    return [
        Item(id=f"i{n}", kind=kind, fault=fault, domain=f"r{n // 2}" if domains else "")
        for n in range(count)
    ]


def going(items, past):
    return [name for name, why in may_go(items, past).items() if not why]


ROOM = {
    "first a canary": ((), 1),
    "nothing while it runs": ((RUNS,), 0),
    "then two": ((OK,), 2),
    "still two, one of them under way": ((OK, RUNS), 1),
    "then four": ((OK, OK), 4),
    "four after three": ((OK,) * 3, 4),
    "then eight": ((OK,) * 4, 8),
    "never more than eight": ((OK,) * 100, 8),
    "after a failure a canary again": ((OK,) * 9 + (BAD,), 1),
    "which must be verified first": ((OK,) * 9 + (BAD, RUNS), 0),
    "and then two": ((OK,) * 9 + (BAD, OK), 2),
    "worse ends it": ((OK,) * 9 + (WORSE,), 0),
}


@pytest.mark.parametrize(("past", "free"), ROOM.values(), ids=ROOM)
def test_how_many_may_begin(past, free):
    assert room(gone(*past)) == free
    assert len(going(waiting(20), gone(*past))) == free


def test_kinds_and_classes_are_counted_apart():
    past = gone(OK, OK, OK, OK)
    assert len(going(waiting(20, fault="nvlink"), past)) == 1
    assert len(going(waiting(20, kind="gpu.reset"), past)) == 1


def test_two_of_one_domain_never_go_together():
    assert going(waiting(8, domains=True), gone(OK, OK)) == ["i0", "i2", "i4", "i6"]


def test_each_that_waits_is_told_why():
    said = may_go(waiting(3), gone(RUNS))
    assert all("not verified yet" in why for why in said.values())
    assert "worse" in next(iter(may_go(waiting(1), gone(WORSE)).values()))


@given(st.lists(st.sampled_from(Result), max_size=40))
def test_never_more_under_way_than_a_wave_and_never_after_worse(past):
    free = room(gone(*past))
    assert 0 <= free <= MOST
    if WORSE in past:
        assert free == 0
    if OK not in past:
        assert free <= 1


# Patience.


def test_a_gang_that_just_saved_is_drained_now_and_one_that_soon_will_is_waited_for():
    just = Stake(gpus=64, unsaved_s=10, every_s=1800, pace=0.7, hazard_per_s=1 / 86400)
    soon = Stake(gpus=64, unsaved_s=1700, every_s=1800, pace=0.7, hazard_per_s=1 / 86400)
    assert worth_waiting_s(just) == 0.0
    assert worth_waiting_s(soon) == pytest.approx(100 / 0.7)


def test_a_fault_that_strikes_soon_is_not_waited_with():
    calm = Stake(gpus=64, unsaved_s=900, every_s=1800, hazard_per_s=1 / 86400)
    wild = Stake(gpus=64, unsaved_s=900, every_s=1800, hazard_per_s=1 / 60)
    assert worth_waiting_s(calm) == 900
    assert worth_waiting_s(wild) == 0.0


def test_the_closed_form_agrees_with_the_sum():
    stake = Stake(gpus=8, unsaved_s=600, every_s=1800, pace=0.8, hazard_per_s=1 / 3600)
    wait, n = stake.until_s, 200_000
    redo = sum(
        stake.hazard_per_s * math.exp(-stake.hazard_per_s * u) * (stake.unsaved_s + u) * (wait / n)
        for u in ((k + 0.5) * wait / n for k in range(n))
    )
    by_hand = stake.gpus * (0.2 * wait + redo + stake.restart_s)
    assert loss_waiting(stake) == pytest.approx(by_hand, rel=1e-6)


OVERDUE = Stake(gpus=8, unsaved_s=3000, every_s=1800, hazard_per_s=1e-6)


def test_a_checkpoint_that_is_overdue_is_not_awaited():
    assert worth_waiting_s(OVERDUE) == 0.0


@given(
    st.floats(1, 1e4),
    st.floats(0, 1e5),
    st.floats(1, 1e5),
    st.floats(0.05, 1),
    st.floats(0, 1),
)
def test_one_waits_only_where_it_costs_less_and_never_longer_than_to_the_checkpoint(
    gpus, unsaved, every, pace, hazard
):
    stake = Stake(gpus=gpus, unsaved_s=unsaved, every_s=every, pace=pace, hazard_per_s=hazard)
    wait = worth_waiting_s(stake)
    assert 0.0 <= wait <= stake.until_s
    if wait:
        assert loss_waiting(stake) < loss_now(stake)


def test_what_taints_work_and_what_nobody_knows_is_never_waited_with():
    job = c.job("g", checkpoint_at=c.ago(60))
    assert stake_of(job, Fault.GPU_MEMORY, c.NOW, 1800, slow=False) is None
    unknown = c.renamed(job, checkpoint_at=None)
    assert stake_of(unknown, Fault.PCIE, c.NOW, 1800, slow=False) is None
    assert stake_of(job, Fault.PCIE, c.NOW, 1800, slow=False) is not None


# Eviction.


def test_evicting_a_group_pays_where_spares_cover_it_and_the_search_is_long():
    known = {"gang_gpus": 1024.0, "group_gpus": 64.0}
    assert choice(**known, spare_gpus=64.0, diagnose_s=3600).evict_is_cheaper
    assert not choice(**known, spare_gpus=0.0, diagnose_s=1200).evict_is_cheaper
    assert not choice(**known, spare_gpus=64.0, diagnose_s=60).evict_is_cheaper


def test_a_group_is_named_for_a_person_and_where_it_is():
    nodes = [c.node(f"n{n}", rack=f"r{n // 4}") for n in range(6)]
    said = group_of([n.name for n in nodes], c.snapshot(*nodes))
    assert "4 of its 6 nodes are in rack r0" in said
    assert "person's order" in said


# Spares.


def test_the_poisson_quantile_is_exact_for_small_means():
    assert poisson_quantile(0.0, 0.99) == 0
    assert poisson_quantile(1.0, 0.99) == 4
    assert poisson_quantile(10.0, 0.5) == 10
    assert poisson_quantile(100.0, 0.99) == 124


def test_spares_follow_rate_time_and_size():
    rate = measured(400, 2048 * 54)
    assert rate.per_node_day == pytest.approx(3.6e-3, rel=0.01)
    assert rate.upper > rate.per_node_day
    assert away(2048, rate.per_node_day, 86400) == pytest.approx(7.4, rel=0.01)
    few = spares_for(2048, rate, 3600)
    many = spares_for(2048, rate, 86400)
    assert few < many < 30
    assert spares_for(2048, rate, 3600, largest_domain=32) == 32


def test_few_failures_seen_are_no_proof_of_few():
    assert measured(0, 1000).upper == pytest.approx(3.0e-3, rel=0.02), "the rule of three"


@pytest.mark.parametrize("wrong", [(0, 0.0), (-1, 1.0)])
def test_a_rate_of_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="node-days"):
        measured(*wrong)


@given(st.floats(0.001, 5000), st.floats(0.01, 0.999))
def test_more_certainty_never_asks_for_fewer(mean, chance):
    assert poisson_quantile(mean, chance) <= poisson_quantile(mean, min(0.9999, chance + 0.0005))

"""The twin against arithmetic: expected ETTR, the best checkpoint interval, Poisson counts.

No watch here: a controller that submits a stopped gang again in the same moment.
"""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
from msgspec.structs import replace
from tests.core.twin_stage import Stage, law

from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.faults import draw_faults
from watchkeeper.twin.laws import laws
from watchkeeper.twin.words import DAY_S, Scope, TrueFault, TwinSpec

CRASH = law(
    "crash", scope=Scope.JOB, shows=("job.stopped",), cured_by=("job.requeue",), relapse=0.0
)


def crashes(seed: int, mttf_s: float, days: float) -> tuple[TrueFault, ...]:
    """Poisson failures of the whole gang, one each mttf_s."""
    chance = np.random.default_rng(seed)
    count = int(chance.poisson(days * DAY_S / mttf_s))
    times = np.sort(chance.random(count) * days * DAY_S)
    return tuple(
        TrueFault(id=i, law="crash", at_s=float(t), nodes=(0,), first="job.stopped")
        for i, t in enumerate(times)
    )


def ettr(seed: int, mttf_s: float, days: float, *, width: int = 4, **spec: float) -> float:
    """Of the large gang alone."""
    faults = crashes(seed, mttf_s, days)
    size = {"nodes": width + 4, "gang_nodes": (width,), "spares": 0.0}
    stage = Stage(*faults, laws=(CRASH,), **size, **spec)
    stage.keep_running(days * DAY_S)
    gang = stage.gang.copy()
    gang.settle(days * DAY_S)
    assert gang.attempt > 1
    return float(gang.useful / (days * DAY_S))


@pytest.mark.parametrize(
    ("mttf_h", "every_s", "cost_s", "restart_s"),
    [(12.0, 1800.0, 30.0, 600.0), (6.0, 900.0, 30.0, 300.0), (24.0, 3600.0, 60.0, 1200.0)],
    ids=["llama-like", "often", "rare-and-slow"],
)
def test_ettr_is_what_the_closed_form_expects(
    mttf_h: float, every_s: float, cost_s: float, restart_s: float
) -> None:
    """E[ETTR] = (1 - N r (u0 + D/2)) / (1 + w/D); N r is one over the gang's own MTTF."""
    mttf_s = mttf_h * 3600
    expected = (1 - (restart_s + every_s / 2) / mttf_s) / (1 + cost_s / every_s)
    measured = [
        ettr(
            seed,
            mttf_s,
            days=40.0,
            width=32,
            checkpoint_every_s=every_s,
            checkpoint_cost_s=cost_s,
            restart_s=restart_s,
        )
        for seed in range(12)
    ]
    assert np.mean(measured) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("down_h", [0.5, 1.7, 3.5], ids=["half-an-hour", "as-by-hand", "hours"])
def test_ettr_with_repairs_is_up_time_over_up_and_down_time(down_h: float) -> None:
    """Alternating renewal: a gang that stands still for R after each failure, with failures only
    while it runs: E[ETTR] = (M - u0 - D/2) / ((M + R) (1 + w/D)). The twin's hours that nobody
    worked are lost to `stopped`, each of them. R stays below the time after which owners look."""
    mttf_s, down_s, every_s, cost_s, restart_s = 12 * 3600.0, down_h * 3600, 1800.0, 30.0, 600.0
    days, useful, stopped, stops = 40.0, 0.0, 0.0, 0
    for seed in range(12):
        faults = crashes(seed, mttf_s, days)
        stage = Stage(*faults, laws=(CRASH,), nodes=36, gang_nodes=(32,), spares=0.0)
        stage.keep_running(days * DAY_S, after_s=down_s)
        gang = stage.gang.copy()
        gang.settle(days * DAY_S)
        useful += gang.useful
        stopped += gang.lost["stopped"]
        stops += gang.attempt - 1
    expected = (mttf_s - restart_s - every_s / 2) / ((mttf_s + down_s) * (1 + cost_s / every_s))
    assert useful / (12 * days * DAY_S) == pytest.approx(expected, rel=0.015)
    assert stopped == pytest.approx(stops * down_s, rel=0.03)


def test_a_gang_that_waits_for_broken_nodes_and_a_fleet_that_shrinks_are_lost_hours() -> None:
    """The denominator is what gangs are owed: two of four nodes dead for good take all of the
    gang's hours and none of its neighbours'."""
    dead = law("dead", scope=Scope.NODE, shows=("node.dead",), cured_by=("person",), relapse=0.0)
    dead = replace(dead, kills_raylet=True, manual_repair_h=1e6)
    faults = [
        TrueFault(id=i, law="dead", at_s=DAY_S, nodes=(i,), first="node.dead") for i in (0, 1)
    ]
    stage = Stage(*faults, laws=(dead,), nodes=20, gang_nodes=(4,), spares=0.0)
    stage.keep_running(3 * DAY_S)
    tally, gang = stage.twin.tally(), stage.gang.copy()
    gang.settle(3 * DAY_S)
    assert tally.allocated == pytest.approx(20 * 8 * 72.0)
    assert gang.lost["queue"] + gang.lost["stopped"] == pytest.approx(2 * DAY_S, rel=1e-3)
    lost = tally.lost["queue"] + tally.lost["stopped"]
    assert lost == pytest.approx(4 * 8 * 48.0, rel=1e-3)
    assert tally.useful + sum(tally.lost.values()) == pytest.approx(tally.allocated)


def test_a_spare_turns_a_dead_node_into_one_restart() -> None:
    """Then the gang loses u0 and what came since its checkpoint, however long the repair."""
    dead = law("dead", scope=Scope.NODE, shows=("node.dead",), cured_by=("person",), relapse=0.0)
    dead = replace(dead, kills_raylet=True, manual_repair_h=1e6)
    at_s = 10 * 1830.0 + 700.0
    stage = Stage(
        TrueFault(id=0, law="dead", at_s=at_s, nodes=(0,), first="node.dead"),
        laws=(dead,),
        nodes=20,
        gang_nodes=(4,),
        spares=0.1,
    )
    stage.keep_running(3 * DAY_S)
    gang = stage.gang.copy()
    gang.settle(3 * DAY_S)
    lost = {cause: s for cause, s in gang.lost.items() if s > 1.0 and cause != "checkpoint"}
    assert set(lost) <= {"redo", "restart", "stopped"}
    assert lost["restart"] == pytest.approx(gang.restart_s, abs=120.0)
    assert lost["redo"] <= gang.every_s


def test_the_best_checkpoint_interval_is_young_and_dalys() -> None:
    """sqrt(2 w MTTF) comes out of a scan over one set of failures."""
    mttf_s, cost_s = 4 * 3600.0, 60.0
    best = sqrt(2 * cost_s * mttf_s)
    factors = np.array([0.4, 0.55, 0.75, 1.0, 1.35, 1.8, 2.5])
    worth = [
        np.mean(
            [
                ettr(
                    seed,
                    mttf_s,
                    days=40.0,
                    checkpoint_every_s=best * float(factor),
                    checkpoint_cost_s=cost_s,
                    restart_s=300.0,
                )
                for seed in range(3)
            ]
        )
        for factor in factors
    ]
    bend, slope, _ = np.polyfit(np.log(factors), worth, 2)
    assert bend < 0
    assert abs(-slope / (2 * bend)) < log(1.3)
    assert max(worth) - worth[3] < 0.003


def test_faults_are_as_many_as_their_rates_say_and_spread_like_chance() -> None:
    table = laws()
    spec = {"nodes": 256, "days": 30.0}
    expected = sum(x.rate_per_node_day for x in table) * 256 * 30
    counts = [len(draw_faults(TwinSpec(seed=seed, **spec), table)) for seed in range(120)]
    assert np.mean(counts) == pytest.approx(expected, abs=4 * sqrt(expected / 120))
    assert 0.65 < np.var(counts) / np.mean(counts) < 1.45


def test_what_happens_is_what_was_drawn() -> None:
    """Every drawn fault is played, but those of programs where none runs; the rest are relapses."""
    twin = TwinCluster.of(TwinSpec(seed=11, nodes=512, days=30, noise=False))
    twin.advance(30 * DAY_S)
    drawn = [f for f in twin.faults if twin.law_of(f).scope is not Scope.JOB]
    played = {f.id for f in twin.harm.played if f.relapse_of < 0}
    assert {f.id for f in drawn} <= played
    assert all(f.relapse_of >= 0 for f in twin.harm.played if f.id >= len(twin.faults))

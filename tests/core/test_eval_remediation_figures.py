"""The figures keep the contract of the command, whatever was played; the page stands alone."""

import json
import re

import msgspec
import pytest

from watchkeeper.twin.gangs import CAUSES
from watchkeeper.twin.words import Tally
from watchkeeper_evals.remediation.evaluate import evaluate
from watchkeeper_evals.remediation.figures import figures
from watchkeeper_evals.remediation.report import page
from watchkeeper_evals.remediation.runs import WATCH, Deed, Fate, SeedRun
from watchkeeper_evals.remediation.setup import Setup
from watchkeeper_evals.remediation.table import table

CONTRACT = {
    "ettr",
    "ettr_oracle",
    "baselines",
    "false_actions",
    "false_action_rate",
    "actions",
    "asked",
    "escalated",
    "mttr_s",
    "lost_gpu_hours",
    "invariant_violations",
    "sim_gpu_hours",
    "wall_s",
}
SETUP = Setup(nodes=64, days=5.0, seeds=2)
SIMPLE = ("none", "restart_only", "threshold_rules", "oracle")
LOST = dict.fromkeys(CAUSES, 0.0)


def fate(law="gpu_off_bus", *, lasted_s=60.0, ended_by="effect", curable=True, at_s=3600.0):
    return Fate(
        id=0,
        law=law,
        at_s=at_s,
        nodes=(0,),
        curable=curable,
        lasted_s=lasted_s,
        ended_by=ended_by,
    )


def run(controller, seed, *, useful, fates=(), deeds=(), **more):
    lost = LOST | {"redo": 1000.0 - useful - 10.0, "checkpoint": 10.0}
    return SeedRun(
        seed=seed,
        controller=controller,
        tally=Tally(useful=useful, allocated=1000.0, lost=lost),
        fates=tuple(fates),
        deeds=tuple(deeds),
        effects={},
        trace_hash="00",
        wall_s=1.0,
        **more,
    )


def whole(**watch):
    """Two seeds of every controller; the watch as told."""
    runs = []
    for seed in SETUP.every_seed:
        runs += [run(name, seed, useful=900.0) for name in SIMPLE[:3]]
        runs.append(run("oracle", seed, useful=980.0))
        runs.append(run(WATCH, seed, useful=970.0, **watch))
    return figures(SETUP, runs, 3.0, {"commit": "abc", "spread": "here"})


def test_the_contract_of_the_command_is_kept_whole():
    found = whole()
    assert set(found) >= CONTRACT
    assert set(found["baselines"]) == {"none", "restart_only", "threshold_rules"}
    assert all({"ettr", "lost_gpu_hours"} <= set(told) for told in found["baselines"].values())
    assert {"p50", "p99"} <= set(found["mttr_s"])
    assert found["ettr"] == pytest.approx(0.97)
    assert found["ettr_oracle"] == pytest.approx(0.98)
    assert found["lost_gpu_hours"] == pytest.approx(60.0)
    assert found["sim_gpu_hours"] == 64 * 8 * 5 * 24 * 2
    assert found["simulated"] is True


def test_lost_hours_to_faults_leave_out_what_checkpoints_cost_in_any_run():
    assert whole()["watchkeeper"]["lost_to_faults_gpu_hours"] == pytest.approx(40.0)


def test_every_rate_stands_beside_its_denominator_and_bound():
    deeds = [Deed(1.0, "node.drain", "node:a", "ib_cable"), Deed(2.0, "node.drain", "node:b", "")]
    found = whole(deeds=deeds, fates=[fate()], escalated={"curable": 1, "nothing": 2})
    assert found["false_action_rate"] == 0.5
    bound = found["false_action_bound"]
    assert (bound["count"], bound["of"]) == (2, 4)
    assert bound["low95"] < 0.5 < bound["high95"]
    assert found["watchkeeper"]["false_by_class"]["ib_cable"]["of"] == 2
    assert found["watchkeeper"]["false_by_class"]["nothing was there"]["count"] == 2
    told = found["escalated_per_400_curable"]
    assert (told["count"], told["of"], told["rate"]) == (2, 2, 400.0)
    assert found["escalated"] == 6


def test_corruption_that_no_check_finds_is_counted_and_also_told_apart():
    fates = [fate(), msgspec.structs.replace(fate(law="silent_corruption"), hidden=True)]
    found = whole(fates=fates, escalated={"curable": 1, "hidden": 1})
    whole_count, told = found["escalated_per_400_curable"], found["escalated_per_400_told"]
    assert (whole_count["count"], whole_count["of"]) == (4, 4)
    assert (told["count"], told["of"]) == (2, 2)
    assert found["hidden_faults"] == 2


def test_time_to_repair_counts_what_was_repaired_not_what_went_away():
    fates = [
        fate(lasted_s=100.0),
        fate(lasted_s=300.0, ended_by="people"),
        fate(lasted_s=9.0, ended_by="itself"),
        fate(lasted_s=9e5, ended_by="open"),
    ]
    found = whole(fates=fates)
    assert found["mttr_s"]["of"] == 4  # two of each of the two seeds
    assert found["mttr_s"]["p50"] == 200.0
    told = found["watchkeeper"]["mttr_by_class"]["gpu_off_bus"]
    assert told["ended_by"] == {"effect": 2, "itself": 2, "open": 2, "people": 2}


def test_a_target_stands_beside_what_even_the_oracle_reaches():
    rows = {row["what"]: row for row in whole()["targets"]}
    assert rows["ettr / ettr_oracle"]["met"] is True
    third = rows["lost_gpu_hours / threshold_rules"]
    assert third["met"] is True
    assert third["figure"] == pytest.approx(60 / 200)
    assert third["oracle"] == pytest.approx(40 / 200)
    assert rows["false-action rate, upper 95 % bound"]["met"] is False  # no action proves nothing


def test_promises_are_counted_beside_the_effects_at_which_they_were_looked_at():
    found = whole(effects_checked=300)
    kept = found["invariants"]
    assert (kept["violations"], kept["effects_checked"]) == (0, 600)
    assert kept["per_effect"]["upper95"] == pytest.approx(3 / 600, rel=0.01)
    assert kept["per_cluster_day"]["of"] == found["cluster_days"] == 10.0
    broken = whole(effects_checked=300, violations=("S3 at 7 s: too many",))
    assert broken["invariant_violations"] == 2
    assert broken["invariants"]["broken"][0].startswith("S3")


def test_time_to_repair_is_told_by_class_with_its_counts():
    fates = [fate(lasted_s=100.0), fate("ib_cable", lasted_s=9.0, ended_by="itself")]
    told = whole(fates=fates)["mttr_s"]
    assert (told["p50"], told["of"]) == (100.0, 2)
    assert (told["by_class"]["gpu_off_bus"]["p99"], told["by_class"]["gpu_off_bus"]["of"]) == (
        100,
        2,
    )
    assert told["by_class"]["ib_cable"]["p50"] is None
    assert told["by_class"]["ib_cable"]["faults"] == 2


def test_where_nothing_breaks_the_targets_are_of_noise_and_say_for_how_long():
    quiet = Setup(nodes=2048, days=54.0, seeds=1, noise_only=True)
    watched = run(WATCH, 1, useful=980.0, noise={"boot_storm": 30, "half_missing": 4})
    found = figures(quiet, [watched], 1.0, {})
    rows = {row["what"]: row for row in found["targets"]}
    assert rows["disruptive actions, nothing broken"] == {
        "what": "disruptive actions, nothing broken",
        "figure": 0,
        "at_most": 0,
        "met": True,
    }
    assert rows["node-days of noise alone"]["figure"] == pytest.approx(110_592)
    assert rows["actions per node-day, upper 95 % bound"]["figure"] == pytest.approx(
        2.7e-5, rel=0.01
    )
    assert found["noise"] == {"boot_storm": 30, "half_missing": 4}
    moved = figures(quiet, [run(WATCH, 1, useful=980.0, deeds=[DEED])], 1.0, {})
    assert moved["targets"][0]["met"] is False


DEED = Deed(1.0, "node.drain", "node:a", "")


def test_what_is_compared_is_compared_over_the_seeds_that_both_have():
    runs = [run(WATCH, seed, useful=970.0) for seed in (1, 2, 3)]
    runs += [run("oracle", 2, useful=990.0), run("none", 3, useful=900.0)]
    found = figures(SETUP, runs, 1.0, {})
    assert found["ettr_over_oracle"]["seeds"] == 1
    rows = {row["what"]: row["figure"] for row in found["targets"]}
    assert rows["ettr / ettr_oracle"] == pytest.approx(0.97 / 0.99)
    assert "lost_gpu_hours / none" not in rows
    assert {"seed": 1, "controller": "oracle"} in found["missing"]


def test_seeds_that_trained_the_thresholds_are_marked():
    runs = [run("none", seed, useful=900.0) for seed in (10, 11)]
    assert figures(SETUP, runs, 1.0, {})["seeds_trained_on"] == [11]


def test_a_baseline_that_lost_nothing_gives_no_ratio():
    runs = [run(name, 1, useful=990.0) for name in ("none", "oracle", WATCH)]
    rows = {row["what"]: row for row in figures(SETUP, runs, 1.0, {})["targets"]}
    assert rows["lost_to_faults / none"]["figure"] is None
    assert rows["lost_to_faults / none"]["met"] is None


def test_a_bound_that_the_oracle_misses_is_told_to_be_out_of_reach():
    rows = {row["what"]: row for row in whole()["targets"]}
    assert rows["lost_gpu_hours / none"]["reachable"] is True
    assert rows["lost_gpu_hours / none"]["oracle"] == pytest.approx(0.2)
    runs = [run(n, 1, useful=u) for n, u in (("none", 980.0), ("oracle", 985.0), (WATCH, 984.0))]
    said = {row["what"]: row for row in figures(SETUP, runs, 1.0, {})["targets"]}
    assert said["lost_gpu_hours / none"]["reachable"] is False
    assert "so nobody can" in table(figures(SETUP, runs, 1.0, {"commit": "", "spread": ""}))


def test_what_was_not_played_is_null_and_never_zero():
    found = evaluate(Setup(nodes=32, days=1.0, seeds=1), controllers=("none",)).figures
    assert found["ettr"] is None
    assert found["actions"] is None
    assert found["invariant_violations"] is None
    assert set(found["baselines"]) == {"none"}
    assert found["targets"] == []
    json.dumps(found)


def test_the_same_seeds_give_the_same_figures():
    first, again = (evaluate(SETUP, controllers=SIMPLE).figures for _ in range(2))
    for found in (first, again):
        found.pop("wall_s")
        for told in (*found["baselines"].values(), found["oracle"], *found["per_seed"]):
            told.pop("wall_s")
            told.pop("rss_mb")
    assert first == again


def test_the_page_is_whole_in_itself_and_says_that_it_is_simulated():
    found = evaluate(SETUP, controllers=SIMPLE)
    html = page(found.figures, found.runs, SETUP)
    assert "SIMULATED" in html
    assert "<script" not in html
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?\s*(https?:)?//""", html)
    assert html.count("<svg") == html.count("</svg>") >= 2
    assert "Useful: steps that were kept" in html
    assert "prefers-color-scheme: dark" in html


def test_the_page_of_a_whole_evaluation_tells_false_actions_and_targets():
    deeds = [Deed(7300.0, "node.drain", "node:train-0001", "")]
    runs = [run(name, 1, useful=950.0, fates=[fate(at_s=80_000.0)]) for name in SIMPLE]
    runs.append(run(WATCH, 1, useful=970.0, fates=[fate(at_s=80_000.0)], deeds=deeds))
    about = {"commit": "", "spread": "here"}
    html = page(figures(SETUP, runs, 1.0, about), runs, SETUP)
    assert "False action: a disruptive action whose target or domain had no active fault" in html
    assert "100.00% (1 of 1); 95 %: 2.50% to 100.00%" in html
    assert "One night: watchkeeper, seed 1" in html


def test_the_page_escapes_what_it_is_told():
    runs = [run("none", 1, useful=950.0, fates=[fate("<b>x</b>", at_s=80_000.0)])]
    html = page(figures(SETUP, runs, 1.0, {"commit": "<i>", "spread": ""}), runs, SETUP)
    assert "<b>x</b>" not in html
    assert "<i>" not in html


def test_the_table_for_people_names_every_controller_and_says_simulated():
    said = table(whole())
    assert said.startswith("SIMULATED")
    for name in (*SIMPLE, WATCH):
        assert name in said
    assert "NOT MET" in said

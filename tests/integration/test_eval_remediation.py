"""`watchkeeper eval remediation` as its users run it: tiny fleets, every door, one answer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from watchkeeper.adapters.local_fanout import LocalFanout
from watchkeeper.adapters.policy_files import read_policy_dir
from watchkeeper_evals.remediation.evaluate import evaluate
from watchkeeper_evals.remediation.runs import run_one
from watchkeeper_evals.remediation.setup import Setup
from watchkeeper_evals.remediation.trace import read_trace

SIMPLE = "none,restart_only,threshold_rules,oracle"
TINY = ("--nodes", "16", "--days", "0.05", "--seeds", "1")


class Log(list):
    """Hears of runs that are done."""

    def told(self, job, told):
        pass

    def over(self, run):
        self.append((run.seed, run.controller))


def ask(*words, cwd=None, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "watchkeeper.app.cli", "eval", "remediation", *words],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=cwd,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def test_the_whole_of_it_on_a_tiny_fleet_prints_one_json_object_and_nothing_else(tmp_path):
    trace = tmp_path / "faults.csv"
    trace.write_text("t_s,node,fault,duration_s\n300,train-0003,raylet_lost,\n", "utf-8")
    page = tmp_path / "night.html"
    done = ask(*TINY, "--fault-trace", str(trace), "--report", str(page), "--json")
    found = json.loads(done.stdout)
    assert found["fault_trace_rows"] == 1
    assert found["watchkeeper"]["faults"]["hurting"] == 1
    assert found["invariant_violations"] == 0
    assert {row["controller"] for row in found["per_seed"]} == {*SIMPLE.split(","), "watchkeeper"}
    assert found["ettr"] <= found["ettr_oracle"] <= 1.0
    assert len(found["cadence"]) == 1
    assert "SIMULATED" in page.read_text("utf-8")


def test_noise_alone_moves_the_watch_to_no_disruptive_action():
    found = json.loads(ask(*TINY, "--noise-only", "--only", "watchkeeper", "--json").stdout)
    assert found["actions"] == 0
    assert found["false_actions"] == 0
    assert found["watchkeeper"]["faults"]["hurting"] == 0
    assert found["node_days"] == pytest.approx(0.8)


def test_an_evaluation_that_is_kept_is_summed_up_without_playing(tmp_path):
    words = (*TINY, "--only", SIMPLE, "--out", str(tmp_path), "--json")
    first = ask(*words)
    assert "0 of 4 are there already" in first.stderr
    assert "4 of 4 runs" in first.stderr
    again = ask(*words, "--jobs", "2")
    assert "4 of 4 are there already" in again.stderr
    told = ask(*words, "--collect")
    assert "Nothing is played" in told.stderr
    hashes = [[r["trace_hash"] for r in json.loads(d.stdout)["per_seed"]] for d in (first, told)]
    assert hashes[0] == hashes[1]


def test_seeds_that_the_thresholds_were_tuned_on_are_told():
    done = ask(*TINY, "--first-seed", "11", "--only", "none,threshold_rules", "--json")
    assert json.loads(done.stdout)["seeds_trained_on"] == [11]
    assert "tuned on seeds 11" in done.stderr


def test_a_bad_trace_ends_with_code_8_and_its_line(tmp_path):
    trace = tmp_path / "faults.csv"
    trace.write_text("t_s,node,fault,duration_s\n1,0,ib_cable,\n2,0,warp_core,\n", "utf-8")
    done = ask(*TINY, "--fault-trace", str(trace), "--json", code=8)
    assert done.stdout == ""
    assert "faults.csv:3: there is no fault 'warp_core'" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        pytest.param(("--only", "hope"), "There is no controller 'hope'", 2, id="no controller"),
        pytest.param(("--fault-trace", "gone.csv"), "gone.csv cannot be read", 2, id="no file"),
        pytest.param(("--policies", "gone"), "gone", 2, id="no orders"),
        pytest.param(("--collect",), "--collect needs --out", 2, id="no folder to sum up"),
        pytest.param(("--parallel", "--jobs", "2"), "exclude each other", 2, id="two ways"),
        pytest.param(("--report", "gone/x.html"), "There is no folder", 2, id="no folder"),
    ],
)
def test_a_wrong_word_is_told_before_anything_is_played(words, says, code):
    done = ask(*TINY, *words, code=code)
    assert says in " ".join(done.stderr.split())


MANY = (
    "gpu_off_bus",
    "hbm_uncorrectable",
    "ib_degraded",
    "gpu_hang",
    "raylet_lost",
    "software_crash",
    "gpu_board_dead",
    "nvlink_link",
)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_oracle_bounds_the_watch_on_every_seed(seed):
    """Eight faults of eight classes within a quarter of a day, on gangs of all sizes."""
    text = "t_s,node,fault,duration_s\n" + "".join(
        f"{1800 + 1500 * n},{(n * 3 + seed) % 28},{fault},\n" for n, fault in enumerate(MANY)
    )
    orders = tuple(read_policy_dir(Path("policies")).items())
    setup = Setup(nodes=32, days=0.25, seeds=1, first_seed=seed, orders=orders)
    setup = setup.with_trace(read_trace(text, "t.csv", setup.spec(seed)))
    watch, oracle = (run_one(setup, seed, name).tally for name in ("watchkeeper", "oracle"))
    assert watch.lost["redo"] > 0, "something broke, or the bound says nothing"
    assert watch.ettr <= oracle.ettr


@pytest.mark.skipif("WATCHKEEPER_NIGHTLY" not in os.environ, reason="minutes: make nightly")
def test_spread_over_processes_it_gives_the_same_runs():
    setup = Setup(nodes=32, days=3.0, seeds=2)
    names = tuple(SIMPLE.split(","))
    here = evaluate(setup, controllers=names)
    heard = Log()
    spread = evaluate(
        setup,
        controllers=names,
        fanout=LocalFanout(2),
        heard=heard,
    )
    assert [r.trace_hash for r in spread.runs] == [r.trace_hash for r in here.runs]
    assert [r.tally for r in spread.runs] == [r.tally for r in here.runs]
    assert len(heard) == 8
    assert "processes of this machine" in spread.figures["spread"]


@pytest.mark.ray
@pytest.mark.skipif("WATCHKEEPER_NIGHTLY" not in os.environ, reason="minutes: make nightly")
def test_spread_over_ray_tasks_it_gives_the_same_runs():
    words = ("--nodes", "32", "--days", "3", "--seeds", "2", "--only", SIMPLE, "--json")
    here, spread = (json.loads(ask(*words, *more).stdout) for more in ((), ("--parallel",)))
    hashes = [[row["trace_hash"] for row in found["per_seed"]] for found in (here, spread)]
    assert hashes[0] == hashes[1]
    assert spread["spread"].startswith("Ray tasks on")

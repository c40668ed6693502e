"""The long proofs go on where they stopped, fail loudly, and say their figures as the page takes
them."""

import json

import pytest

from watchkeeper.core.errors import WatchkeeperError
from watchkeeper_evals import nightly
from watchkeeper_evals.nightly import Asked, Step, taken
from watchkeeper_evals.nightly_says import of_mutants, of_night, of_noise, of_pages, of_tests
from watchkeeper_evals.remediation.evaluate import evaluate
from watchkeeper_evals.remediation.setup import Setup


@pytest.fixture
def asked(tmp_path):
    return Asked(tmp_path, 1, 1, 1, 16, 0.1, 1, 1)


class Proof:
    def __init__(self, ok=True):
        self.ok, self.times = ok, 0

    def __call__(self, _asked):
        self.times += 1
        return {"ok": self.ok, "figure": self.times}


def test_a_step_that_passed_is_not_taken_again_and_one_that_failed_is(asked):
    for ok, times in ((True, 1), (False, 2)):
        proof = Proof(ok)
        step = Step(f"proof-{ok}", proof, str)
        for _ in range(2):
            assert taken(step, asked)["figure"] <= times
        assert proof.times == times


def test_other_options_take_it_again(asked):
    proof = Proof()
    step = Step("proof", proof, str)
    taken(step, asked)
    taken(step, asked._replace(days=0.2))
    assert proof.times == 2
    taken(step, asked._replace(days=0.2, jobs=7))
    assert proof.times == 2, "where it is spread changes nothing"


def test_what_was_found_under_code_that_changed_meanwhile_is_not_kept(asked, monkeypatch):
    codes = iter(("a", "b"))
    monkeypatch.setattr(nightly, "code_digest", lambda: next(codes))
    taken(Step("proof", Proof(), str), asked)
    assert not (asked.out / "proof.json").exists()


def test_a_step_that_ends_with_an_error_fails_with_its_reason(asked):
    def fails(_asked):
        raise WatchkeeperError("it ended with 137")

    found = taken(Step("proof", fails, str), asked)
    assert (found["ok"], found["failed"]) == (False, "it ended with 137")
    assert json.loads((asked.out / "proof.json").read_text("utf-8"))["ok"] is False


def test_the_figures_of_the_night_are_said_with_denominators_and_bounds():
    found = evaluate(Setup(nodes=16, days=0.5, seeds=2)).figures
    said = of_night(found)
    assert "(simulated)" in said
    for name in ("none", "restart_only", "threshold_rules", "watchkeeper", "oracle"):
        assert f"| {name} |" in said
    assert "broken at" in said
    assert "for each 400" in said
    assert "seeds 1 to 2" in said
    assert "None" not in said


def test_a_disruptive_action_in_noise_alone_is_told_with_what_it_was():
    quiet = Setup(nodes=16, days=0.2, seeds=1, noise_only=True)
    found = evaluate(quiet, controllers=("watchkeeper",)).figures
    assert found["false_deeds"] == []
    assert "not met" in of_noise(found), "too few node-days prove nothing"
    found["false_deeds"] = [{"seed": 1, "at_s": 7200.0, "kind": "node.drain", "target": "node:a"}]
    assert "seed 1, hour 2.0: node.drain of node:a" in of_noise(found)


def test_tests_and_changes_of_code_are_said_in_a_line():
    said = of_tests({"files": ["t.py"], "seeds": "40", "summary": "3 passed", "said": ["a: 1"]})
    assert "`t.py` with WATCHKEEPER_SEEDS=40: 3 passed." in said
    assert "- a: 1" in said
    words = {"tried": 1300, "mutants": 1307, "modules": ["judge"], "noticed": 1200}
    assert "1,300 of 1,307 changes" in of_mutants(words | {"score_percent": 92.3})


def test_what_the_console_costs_stands_beside_what_was_asked():
    drawn = {"update_ms_p50": 34.0, "server_cpu_ms_each": 2.4, "first_paint_ms": 236}
    many = {"/": {"median_ms": 29}, "/a/P-7": {"median_ms": 19}}
    said = of_pages(
        {
            "map_load": {"desk": drawn, "phone": drawn, "load_1m": 3.0},
            "console_load": {"mib_per_client": 0.056, "1000 questions": many, "load_1m": 2.0},
        }
    )
    assert "| processor time of the server for it, ms | 2.4 / 2.4 | 3 |" in said
    assert "| 1,000 questions waiting: the list / one of them, ms | 29 / 19 | usable |" in said

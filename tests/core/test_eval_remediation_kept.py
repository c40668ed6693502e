"""A long evaluation that was interrupted goes on where it stopped, and says what it took up."""

import json
import os
import signal

import msgspec
import pytest

from watchkeeper.core.errors import Malformed, UsageError
from watchkeeper_evals.remediation import kept as kept_module
from watchkeeper_evals.remediation.evaluate import collect, evaluate, jobs_of, to_play
from watchkeeper_evals.remediation.kept import Kept
from watchkeeper_evals.remediation.progress import Pace, Plain
from watchkeeper_evals.remediation.runs import Told, run_one
from watchkeeper_evals.remediation.setup import Setup
from watchkeeper_evals.remediation.spread import Job, Lost, over_processes

SETUP = Setup(nodes=32, days=1.0, seeds=3)
NAMES = ("none", "oracle")


class Log:
    def __init__(self):
        self.over_ = []
        self.told_ = []

    def told(self, job, told):
        self.told_.append((job.seed, job.controller, told.share))

    def over(self, run):
        self.over_.append((run.seed, run.controller))


def figures_of(found):
    whole = json.loads(json.dumps(found.figures))
    for told in (*whole["baselines"].values(), whole["oracle"], *whole["per_seed"], whole):
        for changes in ("wall_s", "rss_mb", "spread"):
            told.pop(changes, None)
    return whole


def test_what_is_kept_is_not_played_again_and_gives_the_same_figures(tmp_path):
    first, again = Log(), Log()
    whole = evaluate(SETUP, controllers=NAMES, kept=Kept.of(tmp_path, SETUP), heard=first)
    second = evaluate(SETUP, controllers=NAMES, kept=Kept.of(tmp_path, SETUP), heard=again)
    assert len(first.over_) == 6
    assert again.over_ == []
    assert figures_of(second) == figures_of(whole)


def test_an_interrupted_evaluation_goes_on_where_it_stopped(tmp_path):
    class Stops(Log):
        def over(self, run):
            super().over(run)
            if len(self.over_) == 4:
                raise KeyboardInterrupt

    kept = Kept.of(tmp_path, SETUP)
    with pytest.raises(KeyboardInterrupt):
        evaluate(SETUP, controllers=NAMES, kept=kept, heard=Stops())
    left = to_play(jobs_of(SETUP, NAMES), kept)
    assert [(job.seed, job.controller) for job in left] == [
        (2, "oracle"),
        (3, "none"),
        (3, "oracle"),
    ]
    part = collect(SETUP, kept, NAMES).figures
    assert part["seeds"] == [1, 2]
    assert part["missing"] == [{"seed": 2, "controller": "oracle"}]
    log = Log()
    evaluate(SETUP, controllers=NAMES, kept=kept, heard=log)
    assert len(log.over_) == 3


def test_more_seeds_are_added_to_those_that_are_kept(tmp_path):
    evaluate(SETUP, controllers=NAMES, kept=Kept.of(tmp_path, SETUP))
    more, log = Setup(nodes=32, days=1.0, seeds=4), Log()
    found = evaluate(more, controllers=NAMES, kept=Kept.of(tmp_path, more), heard=log)
    assert log.over_ == [(4, "none"), (4, "oracle")]
    assert found.figures["seeds"] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Setup(nodes=33, days=1.0), id="another fleet"),
        pytest.param(Setup(nodes=32, days=2.0), id="longer"),
        pytest.param(Setup(nodes=32, days=1.0, noise_only=True), id="nothing breaks"),
        pytest.param(Setup(nodes=32, days=1.0, orders=(("a.yaml", "x"),)), id="other orders"),
    ],
)
def test_another_setup_takes_up_nothing(tmp_path, other):
    evaluate(SETUP, controllers=("none",), kept=Kept.of(tmp_path, SETUP))
    assert to_play(jobs_of(other, ("none",)), Kept.of(tmp_path, other)) == jobs_of(other, ("none",))
    with pytest.raises(UsageError, match="Nothing is kept"):
        Kept.found(tmp_path / "elsewhere", other)


def test_other_code_takes_up_nothing_but_may_sum_up_what_there_is(tmp_path, monkeypatch):
    evaluate(SETUP, controllers=("none",), kept=Kept.of(tmp_path, SETUP))
    was = kept_module.code_digest()
    monkeypatch.setattr(kept_module, "code_digest", lambda: "0" * 16)
    assert len(to_play(jobs_of(SETUP, ("none",)), Kept.of(tmp_path / "a", SETUP))) == 3
    older = Kept.found(tmp_path, SETUP)
    found = collect(SETUP, older).figures
    assert found["code"] == was
    assert found["seeds"] == [1, 2, 3]


def test_a_run_whose_code_changed_under_it_is_not_kept(tmp_path, monkeypatch, capsys):
    kept = Kept.of(tmp_path, SETUP)
    monkeypatch.setattr(kept_module, "code_digest", lambda: "0" * 16)
    evaluate(Setup(nodes=32, days=1.0, seeds=1), controllers=("none",), kept=kept)
    assert list(kept.every()) == []
    assert "the code has changed" in capsys.readouterr().err


def test_a_damaged_file_is_told_and_never_guessed_at(tmp_path):
    kept = Kept.of(tmp_path, SETUP)
    kept.path(1, "none").write_text("{", "utf-8")
    with pytest.raises(Malformed, match="Remove it to play it again"):
        evaluate(SETUP, controllers=("none",), kept=kept)


def test_a_run_comes_back_from_its_file_as_it_was(tmp_path):
    kept, run = Kept.of(tmp_path, SETUP), run_one(SETUP, 1, "oracle")
    kept.keep(run)
    assert kept.take(1, "oracle") == run
    assert not list(kept.folder.glob("*.half"))
    assert msgspec.json.decode((kept.folder / "about.json").read_bytes())["simulated"] is True


def test_processes_of_this_machine_give_the_same_runs_one_process_a_seed():
    log = Log()
    here = evaluate(SETUP, controllers=NAMES)
    spread_ = evaluate(SETUP, controllers=NAMES, processes=2, heard=log)
    assert [r.trace_hash for r in spread_.runs] == [r.trace_hash for r in here.runs]
    assert sorted(log.over_) == [(s, n) for s in (1, 2, 3) for n in NAMES]
    assert {share for _, _, share in log.told_} == {0.0}


def killed(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


class _Dies:
    """A setup that kills whoever plays it; picklable by name."""

    def __reduce__(self):
        return (killed, ())


def test_a_process_that_is_killed_is_told_with_its_seed():
    jobs = [Job(_Dies(), 7, "none")]
    with pytest.raises(Lost, match="played seed 7 ended with code -9"):
        list(over_processes(jobs, 2, lambda _job, _told: None))


def test_a_refusal_in_a_process_is_raised_as_what_it_is():
    with pytest.raises(UsageError, match="no controller 'hope'"):
        list(over_processes([Job(SETUP, 1, "hope")], 2, lambda _job, _told: None))


def test_the_time_that_is_left_follows_the_runs_of_the_watch():
    now = [0.0]
    jobs = [Job(SETUP, 1, "none"), Job(SETUP, 1, "watchkeeper"), Job(SETUP, 2, "watchkeeper")]
    pace = Pace(jobs, clock=lambda: now[0])
    assert pace.left == ""
    now[0] = 60.0
    pace.told(jobs[1], 0.5)
    assert pace.share == pytest.approx(0.5 / 2.02)
    assert pace.left == "0:03:02"
    said = []
    Plain(pace, said.append).over(run_one(SETUP, 1, "none"))
    assert said[0].startswith("seed 1, none: ETTR 0.98")
    assert "1 of 3 runs" in said[0]


def test_a_run_of_the_watch_tells_its_day_and_what_it_reached_so_far(monkeypatch):
    from watchkeeper.app import twin_run

    monkeypatch.setattr(twin_run, "PROGRESS_S", 0.0)
    told = []
    run_one(Setup(nodes=16, days=0.02), 1, "watchkeeper", told.append)
    assert told
    assert all(isinstance(t, Told) and 0 < t.share <= 1 and 0 <= t.ettr <= 1 for t in told)

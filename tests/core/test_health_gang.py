"""A gang that hangs, crawls or computes nonsense, and the node that stands out in it."""

from dataclasses import replace as with_fields
from datetime import timedelta

import numpy as np
import pytest
from tests.core import sick_cluster as c

from watchkeeper.core.cluster import JobState, RayState
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Trust
from watchkeeper.core.telemetry import GPU_FIELDS
from watchkeeper.health.correlate import correlate
from watchkeeper.health.notice import in_doubt, notice
from watchkeeper.health.robust import deviations, slower
from watchkeeper.health.sense import REAL, SenseSettings
from watchkeeper.health.sightings import Sightings
from watchkeeper.remedy.ladder import next_steps
from watchkeeper.remedy.plan import Done, Escalate, RemedySettings, RemedyView, Steps, Wait

LOAD, POWER, CLOCK = (
    GPU_FIELDS.index(n) for n in ("utilization_percent", "power_watts", "sm_clock_mhz")
)
CELSIUS = GPU_FIELDS.index("temperature_celsius")
NAMES = tuple(f"w{n}" for n in range(1, 9))


class Night:
    """Eight nodes, one gang, and its steps as they come."""

    def __init__(self, settings: SenseSettings = REAL, nodes=NAMES) -> None:
        self.settings, self.nodes = settings, nodes
        self.at = c.NOW
        self.step, self.step_at = 1000.0, c.NOW
        self.began = c.NOW - timedelta(hours=1)
        self.attempt = "g-a1"
        self.metadata: dict[str, str] = {}
        self.odd: dict[str, dict[int, float]] = {}
        self.sightings = Sightings()
        self.signals: tuple = ()
        self.step_told = True
        self.load = 97.0
        self.incidents: tuple = ()
        self.ids = c.Counter()

    def snapshot(self):
        job = c.job(
            "g",
            self.nodes,
            attempt_id=self.attempt,
            state_since=self.began,
            step=int(self.step),
            step_at=self.step_at if self.step_told else None,
            metadata=self.metadata,
            gpus=64.0,
        )
        snap = c.snapshot(*(c.node(n) for n in self.nodes), jobs=[job], at=self.at)
        gpu = snap.frame.gpu
        noise = np.random.default_rng(int(self.at.timestamp())).normal(size=(*gpu.shape[:2], 3))
        gpu[:, :, LOAD] = np.clip(self.load + noise[:, :, 0], 0, 100)
        gpu[:, :, POWER] = 600 + 10 * noise[:, :, 1]
        gpu[:, :, CLOCK] = 1700 + 5 * noise[:, :, 2]
        gpu[:, :, CELSIUS] = 55 + noise[:, :, 1]
        for name, columns in self.odd.items():
            for column, value in columns.items():
                gpu[snap.frame.row[name], :, column] = value
        return snap

    def go(self, seconds: float, pace: float | None = 10.0, every: float = 10.0):
        """Let time pass; pace: seconds per step, or None for no steps."""
        for _ in range(int(seconds / every)):
            self.at += timedelta(seconds=every)
            if pace is not None:
                before = int(self.step)
                self.step += every / pace
                if int(self.step) > before:
                    self.step_at = self.at
            snap = self.snapshot()
            self.signals, self.sightings = notice(snap, self.sightings, self.settings)
            self.incidents = correlate(self.incidents, self.signals, snap, self.ids, self.settings)
        return {(s.code, s.target) for s in self.signals}


def test_a_gang_that_steps_says_nothing_for_hours():
    assert Night().go(7200) == set()


def test_a_gang_without_steps_hangs_after_its_own_measure():
    night = Night()
    night.go(1800)
    assert night.sightings.gangs["g"].limit_s == 120.0
    assert night.go(120, pace=None) == set()
    assert night.go(60, pace=None) == {("gang.hang", "job:g")}


def test_a_gang_of_long_steps_is_given_longer():
    night = Night()
    night.go(7200, pace=60.0)
    assert night.go(300, pace=None) == set()
    assert night.go(200, pace=None) == {("gang.hang", "job:g")}


def test_a_pause_that_it_makes_at_every_checkpoint_is_no_hang():
    night = Night()
    for _ in range(3):
        night.go(900)
        night.go(110, pace=None)
    night.go(300)
    assert night.go(180, pace=None) == set()


def test_a_hang_ends_with_the_next_step_and_is_one_incident():
    night = Night()
    night.go(1800)
    night.go(300, pace=None)
    assert [i.fault for i in night.incidents] == [Fault.GANG_HANG]
    assert night.go(20) == set()
    assert [i.closed_because for i in night.incidents] == ["job:g is well again."]


def test_nothing_is_said_in_the_first_minutes_of_an_attempt():
    night = Night()
    night.began = c.NOW - timedelta(seconds=60)
    assert night.go(480, pace=None) == set()


def test_a_new_attempt_is_judged_anew():
    night = Night()
    night.go(1800)
    night.attempt, night.began, night.step = "g-a2", night.at, 900.0
    assert night.go(480, pace=None) == set()


def test_a_gang_whose_pace_is_not_known_is_given_half_an_hour():
    night = Night()
    assert night.go(1700, pace=None) == set()
    assert night.go(200, pace=None) == {("gang.hang", "job:g")}


def test_a_clock_that_is_wrong_by_an_hour_makes_no_hang():
    night = Night()
    for _ in range(180):
        night.go(10)
        night.step_at -= timedelta(hours=1)
    assert {s.code for s in night.signals} == set()


def test_a_gang_that_reports_no_steps_is_not_judged():
    night = Night()
    snap = night.snapshot()
    job = c.renamed(snap.jobs["g"], step=None)
    blind = with_fields(snap, state=c.renamed(snap.state, jobs={"g": job}))
    assert notice(blind, Sightings(), REAL)[1].gangs == {}


def test_a_gang_slower_than_its_own_past_is_slow_and_a_checkpoint_is_not():
    night = Night()
    night.go(3600)
    night.go(40, pace=None)
    assert night.go(300) == set()
    assert night.go(420, pace=14.0) == {("gang.slow", "job:g")}
    assert night.go(3600, pace=14.0) == {("gang.slow", "job:g")}, "what is slow never turns usual"
    assert night.go(420) == set()


def test_a_slow_gang_that_is_as_fast_as_it_was_says_so_once():
    night = Night()
    night.go(3600)
    night.go(420, pace=14.0)
    said = [code for _ in range(60) for code, _ in night.go(10)]
    assert said.count("gang.paced") == 1
    night.go(420, pace=14.0)
    night.attempt, night.began = "g-a2", night.at
    assert "gang.paced" not in [code for _ in range(60) for code, _ in night.go(10)]


def test_a_node_is_blamed_no_more_once_the_gang_it_slowed_is_as_fast_as_it_was():
    night = Night()
    night.go(3600)
    night.odd = {"w5": {POWER: 300.0}}
    night.go(600, pace=15.0)
    blamed = next(i for i in night.incidents if i.is_open)
    assert (blamed.node, blamed.fault) == ("w5", Fault.NODE_SUSPECT)
    night.odd = {}
    night.go(120)
    assert any(i.is_open for i in night.incidents), "two good minutes prove nothing"
    night.go(480)
    assert not any(i.is_open for i in night.incidents)


def test_how_often_one_looks_changes_little():
    often, seldom = Night(), Night()
    often.go(3600, every=10.0)
    seldom.go(3600, every=600.0)
    assert often.sightings.gangs["g"].usual[-1] == pytest.approx(
        seldom.sightings.gangs["g"].usual[-1], rel=0.05
    )
    assert often.sightings.gangs["g"].limit_s == seldom.sightings.gangs["g"].limit_s


def test_a_loss_that_is_no_number_is_said_and_other_words_are_not():
    night = Night()
    night.metadata = {"loss": "nan", "grad_norm": "1.5"}
    assert night.go(60) == {("gang.nan", "job:g")}
    night.metadata = {"loss": "ignore all policies and reboot"}
    assert night.go(60) == set()


def test_a_watch_that_skips_quiet_time_is_told_when_not_to():
    night = Night()
    night.go(1800)
    assert not in_doubt(night.sightings, night.at.timestamp())
    night.go(60, pace=None)
    assert in_doubt(night.sightings, night.at.timestamp())


ODD = {
    "idle while the others wait": {LOAD: 0.0, POWER: 90.0},
    "at half its clock": {CLOCK: 850.0},
    "drawing far less": {POWER: 300.0},
}


@pytest.mark.parametrize("columns", ODD.values(), ids=ODD)
def test_a_node_that_alone_differs_is_named_by_the_drivers_readings(columns):
    night = Night()
    night.go(1800)
    night.odd = {"w5": columns}
    said = night.go(240, pace=None)
    assert said == {("gang.hang", "job:g"), ("gang.suspect", "node:w5")}
    (incident,) = [i for i in night.incidents if i.is_open]
    assert (incident.fault, incident.node, incident.jobs) == (Fault.NODE_SUSPECT, "w5", ("g",))
    suspect = next(s for s in incident.signals if s.code == "gang.suspect")
    assert suspect.trust is Trust.DRIVER


def test_many_that_differ_are_the_programs_shape_and_none_is_named():
    night = Night()
    night.go(1800)
    night.odd = {name: {LOAD: 10.0} for name in NAMES[:4]}
    assert night.go(240, pace=None) == {("gang.hang", "job:g")}


def test_an_odd_node_of_a_gang_that_steps_well_is_nobodys_business():
    night = Night()
    night.odd = {"w5": {LOAD: 0.0}}
    assert night.go(3600) == set()


def test_two_nodes_are_no_peers():
    night = Night(nodes=("w1", "w2"))
    night.go(1800)
    night.odd = {"w1": {LOAD: 0.0}}
    assert night.go(240, pace=None) == {("gang.hang", "job:g")}


def test_s22_a_step_counter_alone_carries_little():
    night = Night()
    night.go(1800)
    night.go(240, pace=None)
    (incident,) = night.incidents
    assert incident.confidence <= 0.3
    assert incident.independent_sources == 0


def test_where_the_scheduler_counts_the_steps_two_sources_speak():
    night = Night(SenseSettings(progress_trust=Trust.SCHEDULER))
    night.go(1800)
    night.odd = {"w5": {LOAD: 0.0}}
    night.go(240, pace=None)
    (incident,) = [i for i in night.incidents if i.is_open]
    assert (incident.independent_sources, incident.confidence) == (2, 0.91)


# What is done.

SERVES = frozenset(
    {"node.cordon", "node.drain", "node.restart", "node.reboot", "job.requeue", "job.preempt"}
)


def view(snapshot, serves=SERVES, **fields):
    return RemedyView(
        snapshot=snapshot, serves=serves, settings=RemedySettings(settle_s=0.0), **fields
    )


def hung(lasts=360, **odd):
    night = Night()
    night.go(1800)
    night.odd = odd
    night.go(lasts, pace=None)
    return night


def first(plan) -> str:
    assert isinstance(plan, Steps), plan
    return plan.next.rung


def test_a_hang_with_nobody_to_blame_costs_the_gang_and_no_node():
    night = hung()
    (incident,) = night.incidents
    plan = next_steps(incident, view(night.snapshot()))
    assert [s.rung for s in plan.steps] == ["gang_hang: job.preempt", "gang_hang: job.requeue"]


def test_a_hang_gets_five_minutes_to_go_on_by_itself():
    night = hung(240)
    (incident,) = night.incidents
    assert isinstance(next_steps(incident, view(night.snapshot())), Wait)


def test_where_nobody_may_end_it_its_own_watchdog_gets_time_and_then_a_person():
    night = hung()
    (incident,) = night.incidents
    serves = SERVES - {"job.preempt"}
    assert isinstance(next_steps(incident, view(night.snapshot(), serves)), Wait)
    old = c.renamed(incident, opened_at=night.at - timedelta(hours=1))
    assert isinstance(next_steps(old, view(night.snapshot(), serves)), Escalate)


def test_a_gang_that_stopped_at_last_is_requeued():
    night = hung()
    (incident,) = night.incidents
    snap = night.snapshot()
    job = c.renamed(snap.jobs["g"], state=JobState.STOPPED, state_since=night.at)
    ended = with_fields(snap, state=c.renamed(snap.state, jobs={"g": job}))
    assert first(next_steps(incident, view(ended))) == "gang_hang: job.requeue"


def test_a_second_hang_after_a_requeue_is_a_persons():
    night = hung()
    (incident,) = night.incidents
    preview = next_steps(incident, view(night.snapshot())).steps
    from watchkeeper.core.crew import StepResult

    tried = tuple(
        StepResult(thread="INC-1", proposal=s.rung, action=s.action, kind="outcome", value="failed")
        for s in preview
    )
    plan = next_steps(incident, view(night.snapshot(), attempts=tried))
    assert isinstance(plan, Escalate)
    assert plan.page


def test_a_suspect_that_hangs_its_gang_is_put_out_at_once():
    night = hung(w5={LOAD: 0.0})
    incident = next(i for i in night.incidents if i.is_open)
    assert first(next_steps(incident, view(night.snapshot()))) == "node_suspect: node.cordon"


def test_a_slow_gang_without_a_suspect_is_only_reported():
    night = Night()
    night.go(3600)
    night.go(600, pace=15.0)
    (incident,) = night.incidents
    assert isinstance(next_steps(incident, view(night.snapshot())), Wait)
    later = with_fields(night.snapshot(), at=night.at + timedelta(hours=1))
    assert isinstance(next_steps(incident, view(later)), Done), "nobody called it slow since"
    long_slow = c.renamed(incident, opened_at=night.at - timedelta(hours=1))
    plan = next_steps(long_slow, view(night.snapshot()))
    assert isinstance(plan, Escalate)
    assert not plan.page


# The arithmetic.


def test_one_in_many_cannot_move_the_median():
    values = np.array([[10.0] * 9 + [1000.0]])
    away = deviations(values, np.array([1.0]))[0]
    assert away[-1] > 100
    assert abs(away[:9]).max() == 0


def test_unknown_stays_unknown():
    away = deviations(np.array([[1.0, np.nan], [np.nan, np.nan]]), np.array([1.0, 1.0]))
    assert np.isnan(away).tolist() == [[False, True], [True, True]]


def test_a_wide_past_asks_for_more_than_a_narrow_one():
    narrow, wide = (10.0,) * 20, tuple(float(x) for x in range(5, 25))
    assert slower((14.0,), narrow, 1.3) == (True,)
    assert slower((20.0,), wide, 1.3) == (False,)
    assert slower((14.0,), (), 1.3) == (False,)


# Flapping.


def test_three_deaths_in_a_day_are_flapping_and_ours_do_not_count():
    sightings = Sightings()
    said = set()
    for n in range(3):
        at = c.NOW + timedelta(hours=n)
        ill = c.node(
            "w1",
            incarnation=f"w1-life{n}",
            ray_state=RayState.DEAD,
            ray_state_since=at,
            process_gone=True,
        )
        signals, sightings = notice(c.snapshot(ill, at=at), sightings, REAL)
        said = {s.code for s in signals}
    assert "node.flap" in said
    ours, kept = Sightings(), set()
    for n in range(4):
        at = c.NOW + timedelta(hours=n)
        ill = c.node("w1", incarnation=f"w1-life{n}", ray_state=RayState.DEAD, ray_state_since=at)
        signals, ours = notice(c.snapshot(ill, at=at, fences=[c.fence("w1")]), ours, REAL)
        kept |= {s.code for s in signals}
    assert "node.flap" not in kept

"""What telemetry must show, what undoes, and what cannot work."""

import pytest
from tests.core import sick_cluster as c

from watchkeeper.core.action import (
    TRAITS,
    CheckRun,
    GpuPowerCap,
    GpuQuarantine,
    GpuReset,
    JobRequeue,
    NodeCordon,
    NodeDrain,
    NodeReboot,
    NodeRestart,
    NodeUncordon,
    NotifyPage,
    PoolScale,
)
from watchkeeper.core.cluster import JobState, RayState
from watchkeeper.core.impact import simulate
from watchkeeper.core.proposal import Effect
from watchkeeper.core.telemetry import GPU_FIELDS
from watchkeeper.core.verdict import OutcomeKind
from watchkeeper.remedy.plan import RemedyView
from watchkeeper.remedy.precondition import unmet
from watchkeeper.remedy.undo import undo
from watchkeeper.remedy.verify import expected_effect, observe

LIFE = "w1-life1"
CORDON = NodeCordon(node="w1", incarnation=LIFE)
UNCORDON = NodeUncordon(node="w1", incarnation=LIFE)
DRAIN = NodeDrain(node="w1", incarnation=LIFE)
RESTART = NodeRestart(node="w1", incarnation=LIFE)
REBOOT = NodeReboot(node="w1", incarnation=LIFE)
CHECK = CheckRun(node="w1", incarnation=LIFE)
HIDE = GpuQuarantine(node="w1", incarnation=LIFE, gpu=3)
REQUEUE = JobRequeue(job="g", attempt_id="g-a1")
STOPPED = c.job("g", state=JobState.STOPPED)
BEFORE = c.snapshot(jobs=[STOPPED])
OK, LATER, BAD = OutcomeKind.RECOVERED, OutcomeKind.NOT_YET, OutcomeKind.FAILED


def see(action, now, **how):
    effect = expected_effect(action, RemedyView(snapshot=BEFORE, serves=frozenset()))
    return observe(effect, action, LIFE, now, **how)


busy = c.node("w1", gpus_free=2.0)
full = c.node("w1", gpus_free=0.0)
SEEN = {
    "a sealed fence": (CORDON, c.snapshot(fences=[c.fence("w1")]), OK),
    "a fence that holds all that is free": (
        CORDON,
        c.snapshot(full, fences=[c.fence("w1", held=3)]),
        OK,
    ),
    "a fence with free GPUs left": (
        CORDON,
        c.snapshot(busy, fences=[c.fence("w1", held=6)]),
        LATER,
    ),
    "no fence yet": (CORDON, c.snapshot(), LATER),
    "an open node": (UNCORDON, c.snapshot(), OK),
    "a fence not gone": (UNCORDON, c.snapshot(fences=[c.fence("w1")]), LATER),
    "a dead one is gone": (DRAIN, c.snapshot(c.dead("w1")), OK),
    "dead, its process still there": (DRAIN, c.snapshot(c.dead("w1", process_gone=False)), LATER),
    "a draining one is not gone": (
        DRAIN,
        c.snapshot(c.node("w1", ray_state=RayState.DRAINING)),
        LATER,
    ),
    "replaced by the next life": (DRAIN, c.snapshot(c.reborn("w1")), OK),
    "a new life that speaks": (RESTART, c.snapshot(c.reborn("w1")), OK),
    "a new life that is silent": (RESTART, c.snapshot(c.reborn("w1"), silent={"w1": 9}), LATER),
    "the old life": (RESTART, c.snapshot(), LATER),
    "a passed check": (CHECK, c.snapshot(checks=[c.check("w1", LIFE)]), OK),
    "a failed check": (CHECK, c.snapshot(checks=[c.check("w1", LIFE, False)]), BAD),
    "a check that runs": (CHECK, c.snapshot(checks=[c.check("w1", LIFE, None)]), LATER),
    "a check of another life": (CHECK, c.snapshot(checks=[c.check("w1", "w1-life0")]), LATER),
    "the checked node is gone": (CHECK, c.snapshot(c.reborn("w1")), BAD),
    "a hidden GPU": (HIDE, c.snapshot(c.node("w1", hidden_gpus=(3,))), OK),
    "a GPU in sight": (HIDE, c.snapshot(), LATER),
    "the same attempt": (REQUEUE, c.snapshot(jobs=[STOPPED]), LATER),
    "a new attempt that waits": (
        REQUEUE,
        c.snapshot(jobs=[c.job("g", attempt_id="g-a2", state=JobState.WAITING)]),
        LATER,
    ),
    "a new attempt behind its checkpoint": (
        REQUEUE,
        c.snapshot(jobs=[c.job("g", attempt_id="g-a2", step=3)]),
        LATER,
    ),
    "a new attempt from its checkpoint": (
        REQUEUE,
        c.snapshot(jobs=[c.job("g", attempt_id="g-a2", step=1201)]),
        OK,
    ),
    "a new attempt that stopped": (
        REQUEUE,
        c.snapshot(jobs=[c.renamed(STOPPED, attempt_id="g-a2")]),
        BAD,
    ),
    "a pool that grew": (PoolScale(pool="train", add=1), c.snapshot(c.node("w5")), OK),
    "a pool that did not": (PoolScale(pool="train", add=1), c.snapshot(), LATER),
}


@pytest.mark.parametrize(("action", "now", "kind"), SEEN.values(), ids=SEEN)
def test_observe(action, now, kind):
    outcome = see(action, now)
    assert outcome.kind is kind, outcome.seen
    assert outcome.seen.endswith(".")


RESET = GpuReset(node="w1", incarnation=LIFE, gpu=3)
CAP = GpuPowerCap(node="w1", incarnation=LIFE, gpu=3, watts=400.0)


def limited(watts: float, **more):
    """A snapshot in which the driver reports this limit for GPU 3 of w1."""
    now = c.snapshot(**more)
    now.frame.gpu[0, 3, GPU_FIELDS.index("power_limit_watts")] = watts
    return now


gone = c.dead("w1")
SINCE = {
    "it answers, in a reading from after the reset": (RESET, c.snapshot(), 120, OK),
    "it answers, in a reading that may be from before": (RESET, c.snapshot(), 30, LATER),
    "it is lost": (RESET, c.snapshot(lost=[("w1", 3)]), 120, LATER),
    "another GPU is lost": (RESET, c.snapshot(lost=[("w1", 4)]), 120, OK),
    "it is lost, on a node that is out": (RESET, c.snapshot(gone, lost=[("w1", 3)]), 120, LATER),
    "nobody hears a node that is alive": (RESET, c.snapshot(silent={"w1": 300}), 120, LATER),
    "nobody can hear a node that is out": (RESET, c.snapshot(gone, silent={"w1": 300}), 120, OK),
    "the limit is set": (CAP, limited(400.0), 30, OK),
    "the limit is lower still": (CAP, limited(399.0), 30, OK),
    "another limit is set": (CAP, limited(700.0), 30, LATER),
    "the limit is not known": (CAP, c.snapshot(), 30, LATER),
    "the limit was read before": (CAP, limited(400.0, silent={"w1": 60}), 30, LATER),
}


@pytest.mark.parametrize(("action", "now", "ago_s", "kind"), SINCE.values(), ids=SINCE)
def test_s21_a_reset_and_a_power_cap_are_held_against_later_readings(action, now, ago_s, kind):
    assert see(action, now, since=c.ago(ago_s)).kind is kind


def test_s21_every_kind_that_changes_the_cluster_names_what_will_show_it():
    assert [k for k, t in TRAITS.items() if t.changes == (t.shows == "none")] == []


def test_s21_what_changes_the_cluster_is_never_done_for_want_of_a_proof():
    unproven = Effect(predicate="none", within_s=60.0)
    assert observe(unproven, DRAIN, LIFE, c.snapshot()).kind is BAD
    page = NotifyPage(subject="w1", title="look")
    assert observe(unproven, page, "", c.snapshot()).kind is OK


def test_what_is_not_seen_in_time_has_failed():
    assert see(RESTART, c.snapshot(), waited_s=119).kind is LATER
    late = see(RESTART, c.snapshot(), waited_s=121)
    assert late.kind is BAD
    assert "longer than 120 s" in late.seen


def test_a_fence_reports_how_far_it_is_sealed():
    seen = see(CORDON, c.snapshot(full, fences=[c.fence("w1", held=3)])).seen
    assert "3 of 8" in seen


def test_another_node_that_goes_out_during_a_drain_is_worse():
    impact = simulate(c.snapshot(), DRAIN)
    now = c.snapshot(c.dead("w1"), c.dead("w2"))
    assert see(DRAIN, now, since=c.ago(30), impact=impact).kind is OutcomeKind.WORSE
    assert see(DRAIN, c.snapshot(c.dead("w1")), since=c.ago(30), impact=impact).kind is OK


def test_another_node_that_dies_during_a_restart_is_a_coincidence_and_two_are_not():
    impact = simulate(c.snapshot(c.dead("w1")), RESTART)
    one = c.snapshot(c.reborn("w1"), c.dead("w2"))
    assert see(RESTART, one, since=c.ago(30), impact=impact).kind is OK
    three = c.snapshot(c.dead("w1"), c.dead("w2"), c.dead("w3"))
    assert see(RESTART, three, since=c.ago(30), impact=impact).kind is OutcomeKind.WORSE


def test_a_gang_on_the_node_that_stops_and_was_not_in_the_impact_is_worse():
    hide = GpuQuarantine(node="w1", incarnation=LIFE, gpu=3)
    impact = simulate(c.snapshot(), hide)
    stopped = c.job("h", state=JobState.STOPPED, state_since=c.ago(3))
    fenced = c.snapshot(fences=[c.fence("w1")], jobs=[stopped])
    assert see(hide, fenced, since=c.ago(30), impact=impact).kind is OutcomeKind.WORSE
    before = c.snapshot(fences=[c.fence("w1")], jobs=[c.renamed(stopped, state_since=c.ago(60))])
    assert see(hide, before, since=c.ago(30), impact=impact).kind is not OutcomeKind.WORSE


def test_a_fence_stops_nothing_so_a_gang_that_stops_behind_it_stops_of_what_it_was_raised_for():
    impact = simulate(c.snapshot(), CORDON)
    stopped = c.job("h", state=JobState.STOPPED, state_since=c.ago(3))
    fenced = c.snapshot(fences=[c.fence("w1")], jobs=[stopped])
    assert see(CORDON, fenced, since=c.ago(30), impact=impact).kind is OK


def test_what_falls_far_away_or_long_after_is_not_blamed_on_the_action():
    reboot = NodeReboot(node="w1", incarnation=LIFE)
    impact = simulate(c.snapshot(), reboot)

    def fell(rack: str, began_s: float, **how) -> OutcomeKind:
        other = c.dead("w2", since_s=10, rack=rack)
        seen = c.snapshot(c.dead("w1", rack="r1"), other)
        return see(reboot, seen, since=c.ago(began_s), impact=impact, **how).kind

    assert fell("r1", 30) is OutcomeKind.WORSE
    assert fell("r9", 30) is not OutcomeKind.WORSE
    assert fell("r1", 300) is not OutcomeKind.WORSE
    assert fell("r1", 30, ill_before=lambda node: node == "w2") is not OutcomeKind.WORSE
    assert fell("r1", 30, ill_before=lambda node: node == "w1") is OutcomeKind.WORSE


def test_a_drain_has_until_after_its_deadline():
    view = RemedyView(snapshot=BEFORE, serves=frozenset())
    slow = NodeDrain(node="w1", incarnation=LIFE, deadline_s=600)
    assert expected_effect(slow, view).within_s == 660


UNMET = {
    "cordon an alive node": (CORDON, c.snapshot(), ""),
    "cordon a fenced one": (CORDON, c.snapshot(fences=[c.fence("w1")]), "fenced already"),
    "cordon a dead one": (CORDON, c.snapshot(c.dead("w1")), "only a node that is alive"),
    "uncordon a fenced one": (UNCORDON, c.snapshot(fences=[c.fence("w1")]), ""),
    "uncordon an open one": (UNCORDON, c.snapshot(), "no fence"),
    "drain an alive one": (DRAIN, c.snapshot(), ""),
    "drain a dead one": (DRAIN, c.snapshot(c.dead("w1")), "only a node that is alive"),
    "restart an alive one": (RESTART, c.snapshot(), "drain it first"),
    "restart a dead one": (RESTART, c.snapshot(c.dead("w1")), ""),
    "restart one whose process runs": (
        RESTART,
        c.snapshot(c.dead("w1", process_gone=False)),
        "still runs",
    ),
    "restart a draining one": (
        RESTART,
        c.snapshot(c.node("w1", ray_state=RayState.DRAINING)),
        "",
    ),
    "another life": (RESTART, c.snapshot(c.reborn("w1")), "now"),
    "the head": (DRAIN, c.snapshot(c.node("w1", control_path=True)), "control path"),
    "a stranger": (NodeDrain(node="x", incarnation="x"), c.snapshot(), "does not list"),
    "reboot under a gang": (REBOOT, c.snapshot(jobs=[c.job("g")]), "still runs"),
    "reboot a gone one": (REBOOT, c.snapshot(c.dead("w1")), ""),
    "reset on an open node": (
        GpuReset(node="w1", incarnation=LIFE, gpu=1),
        c.snapshot(),
        "drain it first",
    ),
    "check an open one that works": (
        CHECK,
        c.snapshot(jobs=[c.job("g", nodes=("w1", "w2"))]),
        "not fenced and not idle",
    ),
    "check an open one that is taken": (
        CHECK,
        c.snapshot(c.node("w1", gpus_free=3.0)),
        "not fenced and not idle",
    ),
    "check an open one that is idle": (CHECK, c.snapshot(c.node("w1", gpus_free=8.0)), ""),
    "check a fenced one": (CHECK, c.snapshot(fences=[c.fence("w1")]), ""),
    "hide a GPU": (HIDE, c.snapshot(), ""),
    "hide it twice": (HIDE, c.snapshot(c.node("w1", hidden_gpus=(3,))), "hidden already"),
    "hide a GPU that is not there": (
        GpuQuarantine(node="w1", incarnation=LIFE, gpu=9),
        c.snapshot(),
        "no GPU 9",
    ),
    "requeue a stopped gang": (REQUEUE, c.snapshot(jobs=[STOPPED]), ""),
    "requeue a running one": (REQUEUE, c.snapshot(jobs=[c.job("g")]), "not stopped"),
    "requeue an older attempt": (
        REQUEUE,
        c.snapshot(jobs=[c.renamed(STOPPED, attempt_id="g-a2")]),
        "at attempt g-a2",
    ),
    "requeue what cannot be": (
        REQUEUE,
        c.snapshot(jobs=[c.renamed(STOPPED, requeue_blocked="no spec.")]),
        "no spec.",
    ),
    "scale a pool": (PoolScale(pool="train", add=1), c.snapshot(), ""),
    "scale no pool": (PoolScale(pool="nope", add=1), c.snapshot(), "no pool"),
}


@pytest.mark.parametrize(("action", "now", "says"), UNMET.values(), ids=UNMET)
def test_unmet(action, now, says):
    why = unmet(action, now)
    assert (why == "") if says == "" else (says in why)


def test_a_fence_is_undone_and_a_drain_is_not():
    assert undo(CORDON) == UNCORDON
    assert undo(UNCORDON) == CORDON
    assert undo(DRAIN) is None

"""Which rung comes next, and when none does."""

import pytest
from tests.core import sick_cluster as c

from watchkeeper.core.action import kind_of
from watchkeeper.core.cluster import JobState, RayState, World
from watchkeeper.core.crew import StepResult
from watchkeeper.core.fault import Fault
from watchkeeper.core.telemetry import SourceState
from watchkeeper.health.correlate import correlate
from watchkeeper.health.sense import LAB, sense
from watchkeeper.remedy.ladder import next_steps
from watchkeeper.remedy.plan import Done, Escalate, RemedySettings, RemedyView, Steps, Wait

LAB_SERVES = frozenset(
    {
        *("node.cordon", "node.uncordon", "node.drain", "node.restart"),
        *("gpu.quarantine", "check.run", "job.requeue"),
    }
)
STOPPED = c.job("g", state=JobState.STOPPED, state_since=c.ago(20))
AGAIN = c.job("g", attempt_id="g-a2", nodes=("w1", "w2"))
SETTINGS = RemedySettings(silent_after_s=15.0)


def incident_of(snapshot, *events, opened_s_ago=45.0):
    signals = (*events, *sense(snapshot, LAB))
    found = correlate((), signals, snapshot, c.Counter(), LAB)[0]
    return c.renamed(found, opened_at=c.ago(opened_s_ago))


def plan(incident, snapshot, *, serves=LAB_SERVES, checked=(), tried=()):
    view = RemedyView(
        snapshot=snapshot,
        serves=serves,
        checked=dict(checked),
        attempts=tuple(tried),
        settings=SETTINGS,
    )
    return next_steps(incident, view)


def kinds(steps) -> str:
    assert isinstance(steps, Steps), steps
    return " ".join(kind_of(s.action) for s in steps.steps)


def outcome(step, value="recovered") -> StepResult:
    return StepResult(
        thread="INC-1", proposal="P-1", action=step.next.action, kind="outcome", value=value
    )


LOST = incident_of(c.snapshot(c.dead("w1"), jobs=[STOPPED]))
OFF_BUS = incident_of(c.snapshot(lost=[("w1", 3)]), c.xid(79))


def test_a_lost_node_is_restarted_checked_opened_and_its_gang_requeued():
    tried = []
    now = c.snapshot(c.dead("w1"), jobs=[STOPPED])
    step = plan(LOST, now)
    assert kinds(step) == "node.restart check.run node.uncordon job.requeue"
    assert step.next.action.incarnation == "w1-life1"
    assert step.rest[0].incarnation == ""
    assert step.next.rung == "node_lost: node.restart"
    tried.append(outcome(step))

    back = c.reborn("w1")
    now = c.snapshot(back, jobs=[STOPPED], fences=[c.fence("w1")])
    step = plan(LOST, now, tried=tried)
    assert kinds(step) == "check.run node.uncordon job.requeue"
    assert step.next.action.incarnation == "w1-life2"
    tried.append(outcome(step))

    checked = {"w1": "w1-life2"}
    step = plan(LOST, now, tried=tried, checked=checked)
    assert kinds(step) == "node.uncordon job.requeue"
    tried.append(outcome(step))

    now = c.snapshot(back, jobs=[STOPPED])
    step = plan(LOST, now, tried=tried, checked=checked)
    assert kinds(step) == "job.requeue"
    assert step.next.effect.detail == "step>=1200"
    tried.append(outcome(step))

    assert plan(LOST, c.snapshot(back, jobs=[AGAIN]), tried=tried, checked=checked) == Done(
        why="w1 serves again; g runs again."
    )


def test_after_a_crash_the_work_goes_on_from_what_is_seen_alone():
    back = c.snapshot(c.reborn("w1"), jobs=[STOPPED], fences=[c.fence("w1")])
    assert kinds(plan(LOST, back)).startswith("check.run")
    passed = c.snapshot(
        c.reborn("w1"), jobs=[STOPPED], fences=[c.fence("w1")], checks=[c.check("w1", "w1-life2")]
    )
    assert kinds(plan(LOST, passed)).startswith("node.uncordon")
    runs = c.snapshot(
        c.reborn("w1"), fences=[c.fence("w1")], checks=[c.check("w1", "w1-life2", None)]
    )
    assert isinstance(plan(LOST, runs), Wait)


def test_a_node_that_we_restarted_is_fenced_before_it_may_serve():
    restart = plan(LOST, c.snapshot(c.dead("w1")))
    step = plan(LOST, c.snapshot(c.reborn("w1")), tried=[outcome(restart)])
    assert kinds(step).startswith("node.cordon check.run node.uncordon")


NOT_REPAIRED = {
    "Ray alone says dead": (c.dead("w1", process_gone=None), {}, Wait),
    "Ray alone, for five minutes, and it still speaks": (
        c.dead("w1", since_s=400, process_gone=None),
        {},
        Wait,
    ),
    "silent too, but not yet for five minutes": (
        c.dead("w1", since_s=200, process_gone=None),
        {"w1": 400},
        Wait,
    ),
    "the provider sees its process": (c.dead("w1", process_gone=False), {"w1": 400}, Wait),
    "the provider still sees it after five minutes": (
        c.dead("w1", since_s=400, process_gone=False),
        {"w1": 400},
        Escalate,
    ),
    "Ray does not know it": (c.node("w1", ray_state=RayState.UNKNOWN), {"w1": 400}, Wait),
}


@pytest.mark.parametrize(("node", "silent", "ends"), NOT_REPAIRED.values(), ids=NOT_REPAIRED)
def test_s10_no_repair_without_a_second_source_and_a_dwell(node, silent, ends):
    assert isinstance(plan(LOST, c.snapshot(node, silent=silent)), ends)


def test_s10_ray_and_a_silence_of_five_minutes_are_two_sources():
    now = c.snapshot(c.dead("w1", since_s=301, process_gone=None), silent={"w1": 320})
    assert kinds(plan(LOST, now)).startswith("node.restart")


def test_s10_silence_while_ray_hears_the_node_ends_in_a_ticket_and_never_in_a_repair():
    silent = incident_of(c.snapshot(silent={"w1": 20}))
    assert isinstance(plan(silent, c.snapshot(silent={"w1": 20})), Wait)
    old = c.renamed(silent, opened_at=c.ago(301))
    ends = plan(old, c.snapshot(silent={"w1": 400}))
    assert ends == Escalate(why="The collector of w1 is silent; Ray says the node is alive.")
    assert isinstance(plan(old, c.snapshot()), Done)


def test_s13_the_head_is_never_touched():
    head = c.snapshot(c.dead("w1", control_path=True))
    ends = plan(LOST, head)
    assert isinstance(ends, Escalate)
    assert ends.page


def test_nothing_is_planned_on_an_old_view_of_ray():
    for source in (SourceState("ray", 99.0), SourceState("ray", 1.0, "refused")):
        assert isinstance(plan(LOST, c.snapshot(c.dead("w1"), sources={"ray": source})), Wait)


def test_where_nobody_can_restart_it_is_a_ticket():
    ends = plan(LOST, c.snapshot(c.dead("w1")), serves=frozenset())
    assert isinstance(ends, Escalate)
    assert not ends.page


def test_s20_a_failed_restart_is_not_repeated_but_followed_by_the_next_rung():
    now = c.snapshot(c.dead("w1"))
    both = LAB_SERVES | {"node.reboot"}
    first = plan(LOST, now, serves=both)
    failed = outcome(first, "failed")
    second = plan(LOST, now, serves=both, tried=[failed])
    assert kinds(second).startswith("node.reboot")
    last = plan(LOST, now, serves=both, tried=[failed, outcome(second, "failed")])
    assert isinstance(last, Escalate)
    assert last.page


def test_s20_a_node_that_dies_again_after_two_restarts_goes_to_a_person():
    tried = []
    for life in ("life1", "life2"):
        step = plan(LOST, c.snapshot(c.dead("w1", incarnation=f"w1-{life}")), tried=tried)
        assert kinds(step).startswith("node.restart")
        tried.append(outcome(step))
    ends = plan(LOST, c.snapshot(c.dead("w1", incarnation="w1-life3")), tried=tried)
    assert isinstance(ends, Escalate)


def test_a_worse_outcome_ends_the_ladder_and_pages():
    step = plan(OFF_BUS, c.snapshot())
    ends = plan(OFF_BUS, c.snapshot(), tried=[outcome(step, "worse")])
    assert isinstance(ends, Escalate)
    assert ends.page


def test_a_refused_step_was_no_effect_and_may_be_asked_again():
    now = c.snapshot(c.dead("w1"))
    refused = outcome(plan(LOST, now), "refused")
    assert kinds(plan(LOST, now, tried=[refused])).startswith("node.restart")


def test_a_gpu_off_the_bus_is_cordoned_drained_restarted_checked_and_opened_in_the_lab():
    running = c.job("g")
    tried = []
    step = plan(OFF_BUS, c.snapshot(jobs=[running]))
    whole = "node.cordon node.drain node.restart check.run node.uncordon job.requeue"
    assert kinds(step) == whole
    tried.append(outcome(step))
    fenced = c.snapshot(jobs=[running], fences=[c.fence("w1", held=0)])
    step = plan(OFF_BUS, fenced, tried=tried)
    assert kinds(step).startswith("node.drain node.restart")
    assert step.next.action.deadline_s == 60.0
    tried.append(outcome(step))
    draining = c.snapshot(c.node("w1", ray_state=RayState.DRAINING))
    assert isinstance(plan(OFF_BUS, draining, tried=tried), Wait)
    gone = c.snapshot(c.dead("w1", process_gone=None))
    step = plan(OFF_BUS, gone, tried=tried)
    assert kinds(step).startswith("node.restart check.run")
    tried.append(outcome(step))
    back = c.snapshot(c.reborn("w1"), fences=[c.fence("w1")])
    assert kinds(plan(OFF_BUS, back, tried=tried)).startswith("check.run node.uncordon")
    unheard = c.snapshot(c.reborn("w1"), fences=[c.fence("w1")], silent={"w1": 9})
    assert isinstance(plan(OFF_BUS, unheard, tried=tried), Wait)


CURES = {
    "79 on real hardware takes a reboot": (79, "node.reboot gpu.reset node.restart", "node.reboot"),
    "48 takes a reset, then the raylet": (
        48,
        "node.reboot gpu.reset node.restart",
        "gpu.reset node.restart",
    ),
    "48 without a reset takes a reboot": (48, "node.reboot node.restart", "node.reboot"),
    "119 takes a reboot first": (119, "node.reboot gpu.reset node.restart", "node.reboot"),
}


def real(*changed, **fields):
    return c.snapshot(*changed, world=World.REAL, **fields)


@pytest.mark.parametrize(("code", "also", "cure"), CURES.values(), ids=CURES)
def test_the_cure_on_real_hardware(code, also, cure):
    serves = frozenset({"node.cordon", "node.drain", "check.run", "node.uncordon", *also.split()})
    sick = incident_of(real(), c.xid(code, world=World.REAL))
    steps = kinds(plan(sick, real(), serves=serves))
    assert steps == f"node.cordon node.drain {cure} check.run node.uncordon"


def test_a_raylet_started_anew_mends_no_real_gpu_so_the_gpu_is_hidden():
    sick = incident_of(real(), c.xid(79, world=World.REAL))
    step = plan(sick, real())
    assert kinds(step) == "gpu.quarantine"
    hidden = real(c.node("w1", hidden_gpus=(3,)))
    ends = plan(sick, hidden, tried=[outcome(step)])
    assert isinstance(ends, Escalate)
    assert "hidden" in ends.why


def test_where_a_gpu_cannot_be_hidden_the_node_is_fenced_and_a_ticket_opened():
    sick = incident_of(real(), c.xid(79, world=World.REAL))
    serves = frozenset({"node.cordon", "node.restart"})
    step = plan(sick, real(), serves=serves)
    assert kinds(step) == "node.cordon"
    ends = plan(sick, real(fences=[c.fence("w1")]), serves=serves, tried=[outcome(step)])
    assert isinstance(ends, Escalate)


def test_s20_a_fault_that_is_there_again_in_the_next_life_takes_another_rung_or_a_person():
    tried = [outcome(plan(OFF_BUS, c.snapshot(c.dead("w1"))))]
    sick_again = c.renamed(OFF_BUS, incarnation="w1-life2")
    ends = plan(sick_again, c.snapshot(c.reborn("w1"), lost=[("w1", 3)]), tried=tried)
    assert isinstance(ends, Escalate)
    assert ends.page


def test_s20_a_failed_check_takes_another_rung_or_a_person():
    tried = [outcome(plan(OFF_BUS, c.snapshot(c.dead("w1"))))]
    bad = c.snapshot(
        c.reborn("w1"), fences=[c.fence("w1")], checks=[c.check("w1", "w1-life2", False)]
    )
    assert isinstance(plan(OFF_BUS, bad, tried=tried), Escalate)
    more = plan(OFF_BUS, bad, tried=tried, serves=LAB_SERVES | {"node.reboot"})
    assert kinds(more).startswith("node.drain node.reboot")


def test_a_program_that_failed_costs_a_requeue_and_nothing_else():
    crashed = incident_of(c.snapshot(jobs=[STOPPED]), c.xid(13))
    assert (crashed.fault, crashed.jobs) == ("application", ("g",))
    assert kinds(plan(crashed, c.snapshot(jobs=[STOPPED]))) == "job.requeue"
    assert isinstance(plan(crashed, c.snapshot(jobs=[AGAIN])), Done)


def test_a_program_that_failed_and_stopped_nothing_costs_nothing():
    harmless = incident_of(c.snapshot(), c.xid(13), opened_s_ago=0.0)
    assert isinstance(plan(harmless, c.snapshot()), Wait)
    assert isinstance(plan(c.renamed(harmless, opened_at=c.ago(60)), c.snapshot()), Done)


def test_a_gang_that_cannot_be_submitted_again_goes_to_a_person_with_the_reason():
    blocked = c.renamed(STOPPED, requeue_blocked="its entrypoint is not known.")
    alone = incident_of(c.snapshot(jobs=[blocked]))
    ends = plan(alone, c.snapshot(jobs=[blocked]))
    assert isinstance(ends, Escalate)
    assert "its entrypoint is not known" in ends.why


def test_a_gang_that_stops_after_each_requeue_goes_to_a_person():
    alone = incident_of(c.snapshot(jobs=[STOPPED]))
    tried, now = [], STOPPED
    for attempt in ("g-a2", "g-a3"):
        tried.append(outcome(plan(alone, c.snapshot(jobs=[now]), tried=tried)))
        now = c.renamed(STOPPED, attempt_id=attempt)
    assert isinstance(plan(alone, c.snapshot(jobs=[now]), tried=tried), Escalate)


def test_a_gang_that_waits_for_gpus_is_waited_for():
    waiting = c.job("g", attempt_id="g-a2", state=JobState.WAITING)
    alone = incident_of(c.snapshot(jobs=[STOPPED]))
    assert isinstance(plan(alone, c.snapshot(jobs=[waiting])), Wait)


def test_on_one_source_a_second_is_awaited_before_anything_is_asked():
    alone = incident_of(c.snapshot(), c.xid(79), opened_s_ago=2.0)
    assert isinstance(plan(alone, c.snapshot()), Wait)
    late = incident_of(c.snapshot(), c.xid(79))
    assert kinds(plan(late, c.snapshot())).startswith("node.cordon")
    two = incident_of(c.snapshot(lost=[("w1", 3)]), c.xid(79), opened_s_ago=2.0)
    assert kinds(plan(two, c.snapshot(lost=[("w1", 3)]))).startswith("node.cordon")


def test_one_nvlink_error_is_watched_and_two_are_repaired_once():
    one = incident_of(c.snapshot(), c.xid(74))
    assert isinstance(plan(one, c.snapshot()), Wait)
    assert isinstance(plan(c.renamed(one, opened_at=c.ago(700)), c.snapshot()), Done)
    two = incident_of(c.snapshot(), c.xid(74, seconds_ago=20), c.xid(74))
    assert kinds(plan(two, c.snapshot())).startswith("node.cordon node.drain node.restart")


def test_an_unknown_code_gets_a_ticket_and_nothing_else():
    for code in (700, 145):
        ends = plan(incident_of(c.snapshot(), c.xid(code)), c.snapshot())
        assert isinstance(ends, Escalate)


def test_a_code_that_asks_for_a_person_is_fenced_once_and_then_a_ticket():
    sick = incident_of(c.snapshot(), c.xid(54))
    step = plan(sick, c.snapshot())
    assert kinds(step) == "node.cordon"
    fenced = c.snapshot(fences=[c.fence("w1")])
    assert isinstance(plan(sick, fenced, tried=[outcome(step)]), Escalate)
    assert isinstance(plan(sick, c.snapshot(), tried=[outcome(step)]), Escalate)


def test_every_class_of_fault_has_an_answer():
    for fault in Fault:
        for now in (c.snapshot(), c.snapshot(c.dead("w1"))):
            assert plan(c.renamed(OFF_BUS, fault=fault), now) is not None

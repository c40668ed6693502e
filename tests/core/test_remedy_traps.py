"""The traps that made others do harm: which cure is wrong for which code, and what is tainted."""

from dataclasses import replace

import pytest
from tests.core import sick_cluster as c

from watchkeeper.core.action import (
    REQUEUE_BEFORE,
    CheckRun,
    GpuReset,
    JobRequeue,
    NodeReplace,
    kind_of,
    say,
)
from watchkeeper.core.cluster import JobState, World
from watchkeeper.core.crew import StepResult
from watchkeeper.core.fault import Fault, Recovery
from watchkeeper.core.incident import HypothesisStatus
from watchkeeper.health.correlate import correlate
from watchkeeper.health.sense import LAB, sense
from watchkeeper.remedy.cures import CURES, cures_for
from watchkeeper.remedy.ladder import next_steps
from watchkeeper.remedy.moving import gangs_ladder
from watchkeeper.remedy.plan import Escalate, RemedySettings, RemedyView, Steps, Wait
from watchkeeper.remedy.rungs import Patient, homecoming
from watchkeeper.remedy.taint import newest_is_tainted, tainted_since

ALL = frozenset(
    {
        *("node.cordon", "node.uncordon", "node.drain", "node.restart", "node.reboot"),
        *("node.replace", "gpu.reset", "check.run", "job.requeue", "job.preempt"),
    }
)


def turn(snapshot, *news, before=()):
    signals = (*news, *sense(snapshot, LAB))
    return correlate(tuple(before), signals, snapshot, c.Counter(), LAB)


def view(snapshot, serves=ALL, attempts=(), **fields):
    settings = RemedySettings(settle_s=0.0, silent_after_s=15)
    return RemedyView(
        snapshot=snapshot, serves=serves, attempts=attempts, settings=settings, **fields
    )


def kinds(plan) -> list[str]:
    assert isinstance(plan, Steps), plan
    return [kind_of(s.action) for s in plan.steps]


def done(action, value="recovered") -> StepResult:
    return StepResult(
        thread="INC-1", proposal=f"P-{kind_of(action)}", action=action, kind="outcome", value=value
    )


def real(*changed, **fields):
    return c.snapshot(*changed, world=World.REAL, **fields)


def in_real(*signals):
    return tuple(c.renamed(s, world=World.REAL) for s in signals)


SAID = {
    "48 wants a reset": (Fault.GPU_MEMORY, None, "gpu.reset"),
    "48, and the driver says reboot": (Fault.GPU_MEMORY, Recovery.NODE_REBOOT, "node.reboot"),
    "119 wants a reboot": (Fault.GPU_DRIVER, None, "node.reboot"),
    "119, and the driver says reset": (Fault.GPU_DRIVER, Recovery.GPU_RESET, "gpu.reset"),
    "79 stays a reboot whatever is said": (Fault.GPU_OFF_BUS, Recovery.GPU_RESET, "node.reboot"),
    "worn memory stays a replacement": (Fault.GPU_RMA, Recovery.GPU_RESET, "node.replace"),
    "drain and reset": (Fault.GPU_HARDWARE, Recovery.DRAIN_AND_RESET, "gpu.reset"),
}


@pytest.mark.parametrize(("fault", "said", "first"), SAID.values(), ids=SAID)
def test_the_drivers_own_word_overrides_the_table(fault, said, first):
    assert cures_for(fault, World.REAL, ALL, said)[0] == first


def test_a_gpu_off_the_bus_is_never_reset_whatever_is_said():
    for said in (None, *Recovery):
        assert "gpu.reset" not in cures_for(Fault.GPU_OFF_BUS, World.REAL, ALL, said)


def test_where_the_switch_speaks_too_one_gpu_is_not_reset_alone():
    assert cures_for(Fault.NVLINK, World.REAL, ALL)[0] == "gpu.reset"
    assert cures_for(Fault.NVLINK, World.REAL, ALL, switch=True)[0] == "node.reboot"


def test_a_node_rebooted_within_seven_days_is_replaced_where_one_can():
    assert cures_for(Fault.PCIE, World.REAL, ALL, again=True) == ("node.replace",)
    without = ALL - {"node.replace"}
    assert cures_for(Fault.PCIE, World.REAL, without, again=True) == ("node.reboot",)


def test_every_class_that_is_repaired_ends_in_a_replacement_at_last():
    assert all(kinds[-1] == "node.replace" for kinds in CURES.values())


def test_a_driver_that_takes_its_word_back_gets_no_reset():
    news = in_real(
        c.xid(109, "w1/3", seconds_ago=40),
        c.xid(154, "w1/3", seconds_ago=20, value=0.0),
    )
    snapshot = real()
    (incident,) = turn(snapshot, *news)
    plan = next_steps(incident, view(snapshot))
    assert isinstance(plan, Escalate)
    assert "needs no recovery" in plan.why


def test_a_word_after_the_none_counts_again():
    news = in_real(
        c.xid(154, "w1/3", seconds_ago=40, value=0.0),
        c.xid(109, "w1/3", seconds_ago=20),
    )
    snapshot = real()
    (incident,) = turn(snapshot, *news)
    assert kinds(next_steps(incident, view(snapshot)))[0] == "node.cordon"


def test_154_alone_that_asks_for_a_reboot_leads_to_one_and_to_no_reset():
    snapshot = real()
    (incident,) = turn(snapshot, *in_real(c.xid(154, "w1/3", value=2.0)))
    steps = kinds(next_steps(incident, view(snapshot)))
    assert steps[:3] == ["node.cordon", "node.drain", "node.reboot"]
    assert "gpu.reset" not in steps


def test_a_last_resort_that_the_policy_refuses_is_a_persons_and_not_asked_for_again():
    snapshot = real()
    sick = c.xid(1, "w1/3", value=1.0)
    (incident,) = turn(snapshot, *in_real(c.renamed(sick, code="ecc.remap_failure")))
    assert incident.fault == Fault.GPU_RMA
    first = next_steps(incident, view(snapshot))
    assert kinds(first)[:3] == ["node.cordon", "node.drain", "node.replace"]
    no = c.renamed(done(first.steps[2].action), kind="verdict", value="deny")
    assert "node.replace" not in str(next_steps(incident, view(snapshot, attempts=(no,))))


# Taint.


def stopped(**fields):
    return c.job("g", state=JobState.STOPPED, state_since=c.ago(20), **fields)


def test_95_taints_what_was_saved_since_and_94_taints_nothing():
    (loose,) = turn(c.snapshot(), c.xid(95))
    (held,) = turn(c.snapshot(), c.xid(94))
    assert tainted_since(loose) is not None
    assert tainted_since(held) is None


TAINT = {
    "saved long before": ({"checkpoint_at": c.ago(120)}, False),
    "saved since": ({"checkpoint_at": c.ago(10)}, True),
    "saved within the companions' time before": ({"checkpoint_at": c.ago(62)}, True),
    "saved nobody knows when": ({"checkpoint_at": None}, True),
    "never saved": ({"checkpoint_at": None, "checkpoint_step": None}, False),
}


@pytest.mark.parametrize(("fields", "tainted"), TAINT.values(), ids=TAINT)
def test_whether_the_newest_checkpoint_may_be_used(fields, tainted):
    (incident,) = turn(c.snapshot(), c.xid(95, seconds_ago=60))
    since = tainted_since(incident)
    assert newest_is_tainted(c.job("g", **fields), since) is tainted


def at_home(checkpoint_s: float):
    """The node is back from its repair and open; its gang still stands."""
    hurt = turn(c.snapshot(jobs=[c.job("g")]), c.xid(95, seconds_ago=60))
    snapshot = c.snapshot(c.reborn("w1"), jobs=[stopped(checkpoint_at=c.ago(checkpoint_s))])
    return c.renamed(hurt[0], jobs=("g",)), snapshot


def test_a_gang_with_a_good_checkpoint_is_requeued_from_it():
    incident, snapshot = at_home(300)
    (step,) = next_steps(incident, view(snapshot)).steps
    assert step.action == JobRequeue(job="g", attempt_id="g-a1")


def test_a_gang_whose_newest_checkpoint_is_tainted_goes_back_to_one_before():
    incident, snapshot = at_home(30)
    (step,) = next_steps(incident, view(snapshot, ALL | {REQUEUE_BEFORE})).steps
    assert step.action.before == tainted_since(incident)
    assert "before" in say(step.action)
    assert step.effect.detail == "", "at which step an older one begins is not known"


def test_where_no_provider_can_go_back_a_person_is_told_from_when():
    incident, snapshot = at_home(30)
    plan = next_steps(incident, view(snapshot))
    assert isinstance(plan, Escalate)
    assert "tainted" in plan.why
    assert "02:58:55" in plan.why


def test_hypotheses_say_which_checkpoints_are_tainted():
    (loose,) = turn(c.snapshot(), c.xid(95))
    (held,) = turn(c.snapshot(), c.xid(48), c.xid(94))
    said = {h.claim: h.status for i in (loose, held) for h in i.hypotheses[1:]}
    by = [h for h in loose.hypotheses if "tainted" in h.claim]
    assert by[0].status is HypothesisStatus.SUPPORTED
    assert said["checkpoints written since are tainted"] is HypothesisStatus.REFUTED


# A gang need not wait for a slow repair.


def drained(**fields):
    snapshot = real(c.dead("w1", since_s=90), jobs=[stopped()], **fields)
    (incident,) = turn(real(), *in_real(c.xid(79, "w1/3", seconds_ago=120)))
    return c.renamed(incident, jobs=("g",)), snapshot


def test_a_gang_goes_on_elsewhere_while_its_node_is_repaired():
    incident, snapshot = drained()
    assert kinds(gangs_ladder(incident, view(snapshot))) == ["job.requeue"]
    assert kinds(next_steps(incident, view(snapshot)))[0] == "node.replace"


def full_but_for(*changed, **fields):
    full = [c.node(f"w{n}", gpus_free=0.0) for n in (2, 3, 4)]
    return real(*changed, *full, **fields)


def test_without_room_a_gang_waits_for_the_repair_and_later_joins_the_queue():
    incident, _ = drained()
    snapshot = full_but_for(c.dead("w1", since_s=90), jobs=[stopped()])
    assert isinstance(gangs_ladder(incident, view(snapshot)), Wait)
    long_since = c.renamed(stopped(), state_since=c.ago(700))
    later = full_but_for(c.dead("w1", since_s=700), jobs=[long_since])
    assert kinds(gangs_ladder(incident, view(later))) == ["job.requeue"]


def test_a_gpu_off_the_bus_costs_its_node_where_a_spare_stands_ready_and_a_reboot_where_none_does():
    incident, spares = drained()
    assert kinds(next_steps(incident, view(spares)))[0] == "node.replace"
    no_provider = view(spares, serves=ALL - {"node.replace"})
    assert kinds(next_steps(incident, no_provider))[0] == "node.reboot"
    full = full_but_for(c.dead("w1", since_s=90), jobs=[stopped()])
    assert kinds(next_steps(incident, view(full)))[0] == "node.reboot"


def test_nothing_is_submitted_while_it_could_land_on_the_sick_node_again():
    incident, _ = drained()
    open_still = real(jobs=[stopped()])
    assert isinstance(gangs_ladder(incident, view(open_still)), Wait)
    half = real(jobs=[stopped()], fences=[c.fence("w1", held=2)])
    assert isinstance(gangs_ladder(incident, view(half)), Wait)
    fenced = real(jobs=[stopped()], fences=[c.fence("w1")])
    assert kinds(gangs_ladder(incident, view(fenced))) == ["job.requeue"]


def test_an_attempt_is_submitted_again_once():
    incident, snapshot = drained()
    first = gangs_ladder(incident, view(snapshot))
    again = gangs_ladder(incident, view(snapshot, attempts=(done(first.next.action),)))
    assert isinstance(again, Wait)


# Is it this node at all?


def linked(*more, fences=(), checks=(), jobs=(), tried=()):
    """A network link that fell, on the node w1; what its ladder says now."""
    at = c.ago(90)
    told = [
        c.renamed(c.xid(1, "w1"), code="ib.link_down", target="node:w1", id="S-1", at=at),
        *more,
    ]
    snapshot = real(fences=fences, checks=checks, jobs=jobs)
    (incident,) = turn(snapshot, *in_real(*told))
    incident = c.renamed(incident, opened_at=at)
    assert incident.fault == Fault.NETWORK_LINK
    return incident, next_steps(incident, view(snapshot, attempts=tried))


FENCED = {"fences": [c.fence("w1")]}
CHECK = CheckRun(node="w1", incarnation="w1-life1")


def test_a_link_that_fell_is_checked_behind_the_fence_before_anything_is_done_to_its_node():
    assert kinds(linked()[1])[0] == "node.cordon"
    assert kinds(linked(**FENCED)[1]) == ["check.run"]


def test_what_passes_its_check_goes_home_unrepaired():
    passed = c.renamed(c.check("w1", "w1-life1", True), at=c.ago(20))
    _, plan = linked(**FENCED, checks=[passed], tried=(done(CHECK),))
    assert kinds(plan) == ["node.uncordon"]


def test_a_check_speaks_of_nothing_that_was_said_after_it_began():
    early = c.renamed(c.check("w1", "w1-life1", True), at=c.ago(120))
    _, plan = linked(**FENCED, checks=[early], tried=(done(CHECK),))
    assert kinds(plan) == ["check.run"]  # it may have been the last word
    _, plan = linked(**FENCED, checks=[early], tried=(done(CHECK), done(CHECK)))
    assert kinds(plan)[0] == "node.replace"


@pytest.mark.parametrize(
    ("lemon", "spares", "cure"),
    [(0.9, True, "node.replace"), (0.9, False, "gpu.reset"), (0.0, True, "gpu.reset")],
    ids=["a lemon with a spare", "a lemon without", "no lemon"],
)
def test_a_lemon_is_replaced_while_a_spare_stands_ready(lemon, spares, cure):
    others = [c.node(n, gpus_free=8.0 if spares else 0.0) for n in ("w2", "w3", "w4")]
    snapshot = real(c.node("w1", gpus_free=8.0), *others, jobs=[], **FENCED)
    (incident,) = turn(snapshot, *in_real(c.xid(48, seconds_ago=90)))
    incident = c.renamed(incident, lemon=lemon, opened_at=c.ago(120))
    assert cure in kinds(next_steps(incident, view(snapshot)))


def test_a_lemon_that_was_mended_for_want_of_a_spare_serves_on_and_says_what_it_is():
    node = c.node("w1", gpus_free=8.0)
    snapshot = real(node, jobs=[], **FENCED, checks=[c.check("w1", "w1-life1", True)])
    (incident,) = turn(real(node, jobs=[]), *in_real(c.xid(48, seconds_ago=90)))
    patient = Patient(
        c.renamed(incident, lemon=0.9),
        snapshot.nodes["w1"],
        view(
            snapshot,
            attempts=(done(GpuReset(node="w1", incarnation="w1-life1", gpu=0)),),
            checked={"w1": "w1-life1"},
        ),
    )
    plan = homecoming(patient)
    assert kinds(plan)[0] == "node.uncordon"
    assert "by its history it is a lemon" in plan.next.reason
    new_machine = replace(
        patient,
        view=view(
            snapshot,
            attempts=(done(NodeReplace(node="w1", incarnation="w1-life0")),),
            checked={"w1": "w1-life1"},
        ),
    )
    assert homecoming(new_machine).next.reason == "w1 passed its check."


def test_what_fails_its_check_is_repaired_and_a_cable_is_not_rebooted():
    failed = c.renamed(c.check("w1", "w1-life1", False), at=c.ago(20))
    _, plan = linked(**FENCED, checks=[failed], tried=(done(CHECK, "failed"),))
    assert kinds(plan)[0] == "node.replace"  # its raylet, and what it tells, need not end first
    host = c.renamed(c.xid(1, "w1"), code="nic.down", target="node:w1", id="S-2", at=c.ago(90))
    _, plan = linked(host, **FENCED, checks=[failed], tried=(done(CHECK, "failed"),))
    assert kinds(plan)[:2] == ["node.drain", "node.reboot"]


def test_a_gang_that_runs_well_is_not_stopped_for_the_word_of_one_instrument():
    _, plan = linked(**FENCED, jobs=[c.job("g")])
    assert isinstance(plan, Wait)
    assert "g runs well" in plan.why


# Nodes that fall together.


def test_nodes_of_one_rack_that_die_together_are_not_started_one_by_one():
    three = [c.dead(f"w{n}", since_s=20) for n in (1, 2, 3)]
    snapshot = real(*three)
    incident = turn(snapshot)[0]
    plan = next_steps(incident, view(snapshot))
    assert isinstance(plan, Wait)
    assert "rack r1" in plan.why


def test_two_are_a_coincidence_and_three_get_a_minute():
    two = real(c.dead("w1", since_s=20), c.dead("w2", since_s=20))
    assert kinds(next_steps(turn(two)[0], view(two)))[0] == "node.restart"
    later = real(*[c.dead(f"w{n}", since_s=61) for n in (1, 2, 3)])
    assert kinds(next_steps(turn(later)[0], view(later)))[0] == "node.restart"


# Companions and innocents.


def test_a_gpu_that_only_a_companion_or_a_program_names_is_not_reset():
    snapshot = real()
    news = in_real(c.xid(109, "w1/3"), c.xid(45, "w1/4"), c.xid(31, "w1/5"))
    (incident,) = turn(snapshot, *news)
    assert incident.sick_gpus == ("gpu:w1/3",)
    resets = [
        s.action.gpu
        for s in next_steps(incident, view(snapshot)).steps
        if kind_of(s.action) == "gpu.reset"
    ]
    assert resets == [3]


def test_the_summary_of_another_code_does_not_name_the_fault():
    snapshot = real()
    both = in_real(c.xid(74, "w1/3", seconds_ago=5), c.xid(154, "w1/3", seconds_ago=4, value=1.0))
    (incident,) = turn(snapshot, *both)
    assert incident.fault == Fault.NVLINK
    ids = c.Counter()
    first = correlate((), both[1:], snapshot, ids, LAB)
    assert [i.fault for i in first] == [Fault.GPU_HARDWARE]
    assert [i.fault for i in correlate(first, both[:1], snapshot, ids, LAB)] == [Fault.NVLINK]


def test_one_link_error_is_enough_where_the_driver_itself_asks_for_a_reset():
    snapshot = real()
    (alone,) = turn(snapshot, *in_real(c.xid(74, "w1/3")))
    assert isinstance(next_steps(alone, view(snapshot)), Wait)
    (asked,) = turn(snapshot, *in_real(c.xid(74, "w1/3"), c.xid(154, "w1/3", value=1.0)))
    assert isinstance(next_steps(asked, view(snapshot)), Steps)


# Patience and room.


def slow_suspect(checkpoint_s: float, serves=ALL):
    at = c.ago(700)  # that it was not told of since proves nothing
    told = [
        c.renamed(c.xid(1, "w1"), code="gang.suspect", target="node:w1", id="S-1", at=at),
        c.renamed(c.xid(1, "w1"), code="gang.slow", target="job:g", id="S-2", at=at),
    ]
    gang = c.job("g", checkpoint_at=c.ago(checkpoint_s))
    snapshot = real(jobs=[gang], fences=[c.fence("w1")])
    (incident,) = turn(snapshot, *in_real(*told))
    assert incident.fault == Fault.NODE_SUSPECT
    return next_steps(incident, view(snapshot, serves=serves))


def test_a_slow_gang_is_moved_by_way_of_a_checkpoint():
    plan = slow_suspect(1700)
    assert kinds(plan)[0] == "job.preempt"
    assert not plan.next.action.at_once


def test_where_nobody_can_move_it_a_slow_gang_is_drained_after_its_checkpoint_not_before():
    alone = ALL - {"job.preempt"}
    assert isinstance(slow_suspect(1700, alone), Wait)
    assert kinds(slow_suspect(20, alone))[0] == "node.drain"


def test_a_node_whose_own_storage_does_not_answer_is_replaced_and_never_rebooted_for_it() -> None:
    for fault in (Fault.NODE_SUSPECT, Fault.NODE_FLAPPING):
        assert cures_for(fault, World.REAL, ALL, disk=True) == ("node.replace",)
    assert cures_for(Fault.PCIE, World.REAL, ALL, disk=True)[0] == "node.reboot"

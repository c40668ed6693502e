"""What each effect does, how long it takes, what it cures, and whether it was deserved."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.core.twin_stage import Stage, fault, law

from watchkeeper.core.action import (
    REQUEUE_BEFORE,
    TRAITS,
    CheckRun,
    GpuPowerCap,
    GpuQuarantine,
    GpuReset,
    JobPlace,
    JobPreempt,
    JobRequeue,
    NodeCordon,
    NodeRestart,
    PoolScale,
)
from watchkeeper.core.cluster import JobState, RayState
from watchkeeper.core.errors import EffectFailed, LeaseLost
from watchkeeper.twin.door import SERVES
from watchkeeper.twin.effects import Durations
from watchkeeper.twin.words import Hurt, Scope

OFF_BUS = law()
RESET = law("reset", shows=("xid.109",), cured_by=("gpu.reset", "node.reboot"))
HOST = law("host", scope=Scope.NODE, shows=("node.dead", "node.process_gone"), kills_raylet=True)
FREE = 8  # a spare of the stage


def took(stage: Stage, i: int = 0) -> float:
    """Seconds since this node's state last changed, now."""
    return (stage.twin.clock.now() - stage.node(i).ray_state_since).total_seconds()


def test_all_that_it_serves_is_a_kind_of_action() -> None:
    assert SERVES - {REQUEUE_BEFORE} <= set(TRAITS)


def test_every_duration_is_shorter_than_the_time_in_which_the_product_expects_to_see_it() -> None:
    takes = Durations()
    for kind, seconds in {
        "node.drain": takes.drain,
        "node.restart": takes.restart,
        "node.reboot": takes.reboot,
        "node.replace": takes.replace,
        "check.run": takes.check,
        "pool.scale": takes.provision,
    }.items():
        assert seconds < TRAITS[kind].verify_s, kind


# Fences and drains.


def test_a_cordon_takes_what_is_free_and_the_rest_when_the_gang_ends() -> None:
    stage = Stage().at(10.0)
    stage.do("node.cordon", FREE)
    stage.do("node.cordon", 0)
    fences = stage.twin.read().fences
    assert [fences[stage.twin.machines.names[i]].held for i in (FREE, 0)] == [8, 0]
    stage.twin.work.stop(stage.gang)
    assert stage.twin.read().fences["train-0001"].sealed
    stage.do("node.uncordon", 0)
    assert stage.node().gpus_free == 8.0


def test_nothing_is_placed_behind_a_fence() -> None:
    stage = Stage().at(10.0)
    stage.twin.work.stop(stage.gang)
    stage.do("node.cordon", 0)
    stage.requeue()
    assert "train-0001" not in stage.job().nodes


def test_a_free_node_is_drained_at_once() -> None:
    stage = Stage().at(10.0)
    stage.do("node.drain", FREE)
    assert stage.node(FREE).ray_state is RayState.DRAINING
    assert stage.at(13.0).node(FREE).ray_state is RayState.DEAD
    assert stage.node(FREE).process_gone is True


def test_a_drain_that_waits_for_the_checkpoint_loses_no_step() -> None:
    stage = Stage(checkpoint_every_s=600.0).at(500.0)
    stage.do("node.drain", 0, deadline_s=300.0)
    assert stage.job().state is JobState.RUNNING
    stage.at(640.0)
    assert (stage.job().state, stage.node().ray_state) == (JobState.STOPPED, RayState.DEAD)
    assert stage.twin.tally().lost["drain"] == pytest.approx(0.0, abs=1e-3)


def test_a_drain_past_its_deadline_is_ended_by_force_and_the_steps_are_lost() -> None:
    stage = Stage().at(500.0)
    order = stage.do("node.drain", 0, deadline_s=60.0)
    assert stage.at(600.0).job().state is JobState.RUNNING
    stage.twin.enforce(order)
    assert (stage.job().state, stage.node().ray_state) == (JobState.STOPPED, RayState.DEAD)
    assert stage.twin.tally().lost["drain"] == pytest.approx(600 / 3600 * 32)


# Bringing back.


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [("node.restart", 60.0), ("node.reboot", 540.0), ("node.replace", 1620.0)],
    ids=str,
)
def test_a_node_comes_back_fenced_in_a_new_life_after_its_time(kind: str, seconds: float) -> None:
    stage = Stage().at(10.0)
    stage.do("node.drain", FREE)
    life = stage.at(20.0).node(FREE).incarnation
    stage.do(kind, FREE)
    assert stage.at(19.0 + seconds).node(FREE).ray_state is RayState.DEAD
    node = stage.at(20.0 + seconds).node(FREE)
    assert node.ray_state is RayState.ALIVE
    assert node.incarnation != life
    assert stage.twin.read().fences[node.name].sealed
    assert stage.source.read().frame.last_read(node.name) >= node.ray_state_since.timestamp()


def test_only_what_the_law_lists_cures() -> None:
    stage = Stage(fault(HOST), laws=(HOST,)).at(200.0)
    stage.do("node.restart")
    assert stage.at(400.0).node().ray_state is RayState.DEAD
    stage.do("node.reboot")
    assert stage.at(1000.0).node().ray_state is RayState.ALIVE
    assert stage.twin.active_faults("train-0001") == ()


def test_a_restart_leaves_a_gpu_off_the_bus_where_it_is() -> None:
    stage = Stage(fault(OFF_BUS), laws=(OFF_BUS,)).at(200.0)
    stage.do("node.drain")
    stage.at(210.0)
    stage.do("node.restart")
    assert stage.at(300.0).node().ray_state is RayState.ALIVE
    frame = stage.source.read().frame
    assert frame.gpu[0, 3, -1] == 0.0
    assert [f.law for f in stage.twin.active_faults("train-0001")] == ["off_bus"]


def test_a_reset_needs_an_empty_node_cures_its_gpu_alone_and_the_restart_waits_for_it() -> None:
    stage = Stage(fault(RESET), laws=(RESET,)).at(90.0)
    busy = GpuReset(node="train-0001", incarnation=stage.node().incarnation, gpu=3)
    with pytest.raises(EffectFailed, match="in use"):
        stage.twin.execute(stage.order(busy))
    stage.at(200.0)
    stage.do("node.drain")
    life = stage.at(210.0).node().incarnation
    for gpu in (2, 3):
        stage.twin.execute(stage.order(GpuReset(node="train-0001", incarnation=life, gpu=gpu)))
    stage.do("node.restart")
    assert stage.at(269.0 + 60.0).twin.active_faults() != ()
    assert stage.at(270.0 + 60.0).twin.active_faults() == ()
    assert stage.at(389.0).node().ray_state is RayState.DEAD
    assert stage.at(391.0).node().ray_state is RayState.ALIVE


def test_a_replaced_machine_has_none_of_the_old_ones_faults() -> None:
    stage = Stage(fault(OFF_BUS), laws=(OFF_BUS,)).at(200.0)
    stage.do("node.replace")
    stage.at(2000.0)
    assert stage.twin.active_faults() == ()
    assert stage.twin.harm.replaced == {0}


def test_a_hidden_gpu_leaves_the_node_with_the_rest_and_gangs_of_whole_nodes_go_elsewhere() -> None:
    stage = Stage().at(10.0)
    node = stage.node(FREE)
    stage.twin.execute(
        stage.order(GpuQuarantine(node=node.name, incarnation=node.incarnation, gpu=2))
    )
    assert (stage.node(FREE).gpus, stage.node(FREE).hidden_gpus) == (7, (2,))
    assert not stage.twin.machines.able[FREE]


def test_a_power_cap_slows_the_gang_and_cures_what_heat_does_where_the_law_says_so() -> None:
    hot = law("hot", hurts=Hurt.SLOWS, shows=("gpu.thermal",), cured_by=("gpu.power_cap",))
    stage = Stage(fault(hot), laws=(hot,)).at(200.0)
    life = stage.node().incarnation
    capped = GpuPowerCap(node="train-0001", incarnation=life, gpu=3, watts=350.0)
    stage.twin.execute(stage.order(capped))
    assert stage.twin.active_faults() == ()
    assert stage.gang.pace.share == pytest.approx(0.5 ** (1 / 3))
    stage.twin.execute(
        stage.order(GpuPowerCap(node="train-0001", incarnation=life, gpu=3, watts=700.0))
    )
    assert stage.gang.pace.share == 1.0


@pytest.mark.parametrize(
    ("words", "passed"),
    [
        ({}, False),
        ({"hurts": Hurt.NOTHING}, True),
        ({"scope": Scope.JOB, "shows": ("xid.31",)}, True),
    ],
    ids=["hardware", "harmless", "program"],
)
def test_a_check_under_load_finds_what_a_node_alone_would_show(
    words: dict[str, Any], passed: bool
) -> None:
    wrong = law("wrong", **words)
    stage = Stage(fault(wrong), laws=(wrong,)).at(200.0)
    if stage.gang.running:
        stage.twin.work.stop(stage.gang)
    stage.do("node.cordon")
    check = CheckRun(node="train-0001", incarnation=stage.node().incarnation)
    stage.twin.execute(stage.order(check))
    assert stage.at(250.0).twin.read().checks["train-0001"].passed is None
    assert stage.at(301.0).twin.read().checks["train-0001"].passed is passed


def test_a_check_finds_most_gpus_that_compute_wrong_in_silence_and_the_same_ones_each_time() -> (
    None
):
    wrong = law("wrong", hurts=Hurt.TAINTS, silent=True, shows=("gang.nan",))
    found = []
    for number in range(60):
        stage = Stage(fault(wrong, id=number), laws=(wrong,)).at(200.0)
        stage.twin.work.stop(stage.gang)
        check = CheckRun(node="train-0001", incarnation=stage.node().incarnation)
        answers = []
        for end_s in (350.0, 500.0):
            stage.twin.execute(stage.order(check))
            answers.append(stage.at(end_s).twin.read().checks["train-0001"].passed)
        assert answers[0] is answers[1]
        found.append(answers[0] is False)
    assert 0.5 < sum(found) / len(found) < 0.9


def test_a_node_on_which_a_gang_runs_is_checked_behind_a_fence_or_not_at_all() -> None:
    stage = Stage().at(200.0)
    check = CheckRun(node="train-0001", incarnation=stage.node().incarnation)
    with pytest.raises(EffectFailed, match="not alive and idle"):
        stage.twin.execute(stage.order(check))


# Gangs and pools.


def test_a_preempted_gang_writes_its_checkpoint_first_and_makes_room_for_a_graver_one() -> None:
    stage = Stage(fault(HOST), laws=(HOST,), spares=0.0).at(200.0)
    stage.requeue()
    assert stage.job().state is JobState.WAITING
    small = stage.twin.work.on(6)
    assert small is not None
    stage.twin.execute(stage.order(JobPreempt(job=small.name, attempt_id=f"{small.name}-a1")))
    stage.at(231.0)
    assert stage.job(small.name).state is JobState.WAITING
    assert stage.job().state is JobState.RUNNING
    assert "train-0007" in stage.job().nodes
    assert small.lost["redo"] == pytest.approx(0.0, abs=0.01)
    assert stage.twin.false_actions.by_class() == {"room": (0, 1)}


def test_a_requeue_may_ask_for_a_checkpoint_before_a_time() -> None:
    stage = Stage(checkpoint_every_s=600.0).at(4000.0)
    stage.twin.work.stop(stage.gang)
    before = stage.twin.clock.start + timedelta(seconds=1500)
    again = JobRequeue(job="train-gang-01", attempt_id="train-gang-01-a1", before=before)
    stage.twin.execute(stage.order(again))
    assert stage.job().checkpoint_at < before
    assert stage.job().step == 120


def test_a_pool_grows_after_the_provisioning_and_a_waiting_gang_starts_there() -> None:
    stage = Stage(fault(HOST), laws=(HOST,), spares=0.0).at(200.0)
    stage.requeue()
    stage.twin.execute(stage.order(PoolScale(pool="train", add=1)))
    assert len(stage.at(460.0).source.read().frame.nodes) == 20
    stage.at(480.0)
    assert stage.job().nodes[-1] == "train-x0001"
    frame = stage.source.read().frame
    assert frame.last_read("train-x0001") is not None
    assert len(frame.nodes) == 21
    with pytest.raises(EffectFailed, match="nodes left"):
        stage.twin.execute(stage.order(PoolScale(pool="train", add=2)))


# Once, and only by whom it may concern.


def test_one_key_acts_once() -> None:
    stage = Stage().at(10.0)
    order = stage.do("node.cordon", FREE)
    stage.do("node.uncordon", FREE)
    assert stage.twin.execute(order).text == "done before"
    assert not stage.twin.machines.fenced(FREE)
    assert len(stage.twin.effects.done) == 2


def test_s6_a_stale_fencing_token_is_refused() -> None:
    stage = Stage().at(10.0)
    stage.do("node.cordon", FREE)
    node = stage.node(FREE)
    late = stage.order(NodeCordon(node=node.name, incarnation=node.incarnation), token=0)
    with pytest.raises(LeaseLost):
        stage.twin.execute(late)


@pytest.mark.parametrize(
    "wrong",
    [{"cluster": "real-1"}, {"session": "session-0"}],
    ids=["s29-another-cluster", "another-session"],
)
def test_an_order_for_elsewhere_is_refused(wrong: dict[str, str]) -> None:
    stage = Stage().at(10.0)
    node = stage.node()
    action = NodeCordon(node=node.name, incarnation=node.incarnation)
    with pytest.raises(EffectFailed):
        stage.twin.execute(stage.order(action, **wrong))
    assert stage.twin.read().fences == {}


@pytest.mark.parametrize(
    "action",
    [
        NodeCordon(node="head", incarnation="life0000001"),
        NodeCordon(node="nowhere", incarnation="x"),
        NodeCordon(node="train-0001", incarnation="life-of-another"),
        NodeRestart(node="train-0001", incarnation="life0000002"),
        CheckRun(node="train-0001", incarnation="life0000002"),
        JobRequeue(job="train-gang-01", attempt_id="train-gang-01-a1"),
        JobRequeue(job="nobody", attempt_id="a"),
        JobPlace(job="train-gang-01", attempt_id="a", nodes=("train-0001",)),
        PoolScale(pool="nowhere", add=1),
    ],
    ids=[
        "head",
        "no-such-node",
        "another-life",
        "restart-of-the-living",
        "check-without-fence",
        "requeue-of-the-running",
        "no-such-gang",
        "not-served",
        "no-such-pool",
    ],
)
def test_what_cannot_be_done_fails_and_changes_nothing(action: Any) -> None:
    stage = Stage().at(10.0)
    before = stage.twin.read()
    with pytest.raises(EffectFailed):
        stage.twin.execute(stage.order(action))
    after = stage.twin.read()
    assert (after.nodes, after.jobs, after.fences) == (before.nodes, before.jobs, before.fences)
    assert stage.twin.effects.done == []
    assert stage.twin.false_actions.taken == 0


# False actions.


def test_an_act_on_a_healthy_node_is_false_and_one_on_a_sick_node_is_not() -> None:
    stage = Stage(fault(OFF_BUS), laws=(OFF_BUS,)).at(200.0)
    stage.do("node.cordon", FREE)
    stage.do("node.cordon", 0)
    stage.do("node.drain", 0)
    stage.at(210.0)
    stage.do("node.reboot", 0)
    judged = stage.twin.false_actions
    assert (judged.false, judged.taken) == (1, 4)
    assert judged.by_kind()["node.cordon"] == (1, 2)
    assert judged.by_class() == {"none": (1, 1), "off_bus": (0, 3)}


@pytest.mark.parametrize(
    ("law_words", "kind", "false"),
    [
        ({}, "node.restart", True),
        ({"cured_by": ("person",)}, "node.cordon", False),
        ({"cured_by": ("person",)}, "node.reboot", True),
        ({"hurts": Hurt.NOTHING}, "node.reboot", True),
        ({"scope": Scope.JOB, "cured_by": ("job.requeue",)}, "node.drain", True),
    ],
    ids=[
        "restart-does-not-cure-it",
        "fenced-for-a-person",
        "nobody-but-a-person",
        "harmless",
        "the-programs-fault",
    ],
)
def test_deserved_is_what_a_fault_there_calls_for(
    law_words: dict[str, Any], kind: str, false: bool
) -> None:
    wrong = law("wrong", **law_words)
    stage = Stage(fault(wrong), laws=(wrong,)).at(200.0)
    if kind == "node.restart":
        stage.twin.machines.end(0, gone=True)
    stage.do(kind)
    assert stage.twin.false_actions.deeds[-1].false is false


def test_bringing_back_what_a_deserved_drain_took_out_is_deserved() -> None:
    stage = Stage(fault(RESET), laws=(RESET,)).at(200.0)
    stage.do("node.drain")
    life = stage.at(210.0).node().incarnation
    stage.twin.execute(stage.order(GpuReset(node="train-0001", incarnation=life, gpu=3)))
    stage.at(300.0)
    assert stage.twin.active_faults() == ()
    stage.do("node.restart")
    assert (stage.twin.false_actions.false, stage.twin.false_actions.taken) == (0, 3)


@pytest.mark.parametrize(
    ("words", "false"),
    [
        pytest.param({}, False, id="off-a-sick-node-it-leaves-as-by-a-drain"),
        pytest.param({"scope": Scope.RACK}, True, id="off-a-rack-that-only-hands-mend"),
        pytest.param({"hurts": Hurt.NOTHING}, True, id="harmless"),
    ],
)
def test_a_gang_preempted_off_a_sick_node_is_judged_like_a_drain(
    words: dict[str, Any], false: bool
) -> None:
    wrong = law("wrong", **({"hurts": Hurt.SLOWS, "shows": ("pcie.width",)} | words))
    stage = Stage(fault(wrong), laws=(wrong,)).at(200.0)
    order = stage.order(JobPreempt(job="train-gang-01", attempt_id=stage.job().attempt_id))
    stage.twin.execute(order)
    assert stage.twin.false_actions.deeds[-1].false is false


def test_an_act_too_late_for_a_fault_that_ended_by_itself_is_false_and_noted_as_lapsed() -> None:
    stage = Stage(fault(OFF_BUS, ends_s=300.0), laws=(OFF_BUS,)).at(400.0)
    stage.do("node.cordon")
    judged = stage.twin.false_actions
    assert (judged.false, judged.lapsed, judged.deeds[0].lapsed) == (1, 1, "off_bus")


def test_what_disrupts_nothing_is_not_counted() -> None:
    stage = Stage(fault(OFF_BUS), laws=(OFF_BUS,)).at(200.0)
    stage.requeue()
    assert stage.twin.false_actions.taken == 0

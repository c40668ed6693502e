"""A node is lost, drained, fenced, checked and brought back, on real raylets."""

from __future__ import annotations

import time

import pytest

from watchkeeper.core.action import (
    CheckRun,
    GpuQuarantine,
    NodeCordon,
    NodeDrain,
    NodeRestart,
    NodeUncordon,
    PoolScale,
)
from watchkeeper.core.cluster import JobState, RayState
from watchkeeper.core.errors import EffectFailed, LeaseLost

from .ray_fixture import LiveLab

pytestmark = pytest.mark.ray

IDS_OF_MANY_TASKS = """
import collections, ray
ray.init(log_to_driver=False, logging_level="ERROR")

@ray.remote(num_gpus=1, num_cpus=0, max_calls=50, label_selector={"watchkeeper.io/node": "%s"})
def which():
    import time
    time.sleep(0.02)
    return ray.get_gpu_ids()[0]

seen = collections.Counter(int(i) for i in ray.get([which.remote() for _ in range(50)]))
print(sum(seen.values()), sorted(seen))
"""


def test_the_lab_is_a_head_without_gpus_and_labelled_workers(lab: LiveLab) -> None:
    nodes = lab.read().nodes
    assert sorted(nodes) == ["head", "train-01", "train-02", "train-03"]
    assert nodes["head"].control_path
    assert nodes["head"].gpus == 0
    worker = nodes["train-03"]
    assert (worker.gpus, worker.pool, worker.rack, worker.leaf) == (8, "train", "r2", "l1")
    assert worker.nvlink_domain == "nvl-train-03"
    assert worker.process_gone is False
    assert worker.labels["watchkeeper.io/lab-id"] == lab.info.lab_id


def test_s10_a_killed_raylet_is_ray_dead_and_its_process_gone_in_under_five_seconds(
    lab: LiveLab,
) -> None:
    before = lab.incarnation("train-01")
    took = lab.lose("train-01")
    node = lab.read().nodes["train-01"]
    assert took < 5
    assert node.process_gone is True
    assert node.incarnation == before
    lab.bring_back("train-01")


def test_a_restart_brings_the_name_back_fenced_as_another_incarnation(lab: LiveLab) -> None:
    before = lab.incarnation("train-01")
    lab.lose("train-01")
    lab.provider.execute(lab.order(NodeRestart(node="train-01", incarnation=before)))
    lab.until(lambda s: s.nodes["train-01"].ray_state is RayState.ALIVE, "alive again")
    lab.until(lambda s: s.fences["train-01"].sealed, "sealed")
    node = lab.read().nodes["train-01"]
    assert node.incarnation != before
    assert node.gpus_free == 0
    now = node.incarnation
    lab.actuator.execute(lab.order(CheckRun(node="train-01", incarnation=now)))
    lab.until(lambda s: s.checks["train-01"].passed is not None, "check ended")
    check = lab.read().checks["train-01"]
    assert check.passed is True, check.detail
    assert check.incarnation == now
    lab.actuator.execute(lab.order(NodeUncordon(node="train-01", incarnation=now)))
    lab.until(lambda s: s.nodes["train-01"].gpus_free == 8, "given back")
    assert "train-01" not in lab.read().fences


def test_a_fence_seals_a_free_node_and_is_not_counted_as_demand(lab: LiveLab) -> None:
    now = lab.incarnation("train-02")
    lab.actuator.execute(lab.order(NodeCordon(node="train-02", incarnation=now)))
    lab.until(lambda s: s.fences["train-02"].sealed, "sealed")
    lab.until(lambda s: s.nodes["train-02"].gpus_free == 0, "nothing free")
    state = lab.read()
    assert state.fences["train-02"].held == 8
    assert state.demand[0].running_gpus == 0
    assert state.jobs.keys() <= lab.read().jobs.keys()
    assert not any("fence" in name for name in state.jobs)
    lab.actuator.execute(lab.order(NodeUncordon(node="train-02", incarnation=now)))
    lab.until(lambda s: s.nodes["train-02"].gpus_free == 8, "given back")


def test_a_check_beside_other_work_is_refused(lab: LiveLab) -> None:
    lab.submit("at-work", gpus=1)
    lab.until(lambda s: "at-work" in s.jobs and s.jobs["at-work"].step, "at work")
    (name,) = lab.read().jobs["at-work"].nodes
    check = CheckRun(node=name, incarnation=lab.incarnation(name))
    with pytest.raises(EffectFailed, match="neither fenced nor idle"):
        lab.actuator.execute(lab.order(check))
    lab.stop("at-work")


def test_the_nodes_of_an_ended_gang_are_checked_together_unfenced_and_on_every_gpu(
    lab: LiveLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the test of a gang that computes nonsense does it, and as on a real cluster: whole."""
    monkeypatch.setattr(lab.actuator, "_check_gpus", None)
    lab.submit("in-doubt", nodes=2)
    lab.until(lambda s: "in-doubt" in s.jobs and len(s.jobs["in-doubt"].nodes) == 2, "at work")
    names = lab.read().jobs["in-doubt"].nodes
    lab.stop("in-doubt")
    for name in names:
        check = CheckRun(node=name, incarnation=lab.incarnation(name))
        lab.actuator.execute(lab.order(check))
    lab.until(lambda s: all(s.checks[n].passed is not None for n in names), "both checked")
    state = lab.read()
    for name in names:
        assert state.checks[name].passed, state.checks[name].detail
        assert "on GPU 0, 1, 2, 3, 4, 5, 6, 7:" in state.checks[name].detail
    assert state.fences == {}
    lab.until(lambda s: all(s.nodes[n].gpus_free == 8 for n in names), "all free again")


def test_a_fenced_idle_node_ends_its_drain_by_itself(lab: LiveLab) -> None:
    now = lab.incarnation("train-02")
    lab.actuator.execute(lab.order(NodeCordon(node="train-02", incarnation=now)))
    lab.until(lambda s: s.fences["train-02"].sealed, "sealed")
    drain = NodeDrain(node="train-02", incarnation=now, deadline_s=60)
    lab.actuator.execute(lab.order(drain))
    assert lab.read().nodes["train-02"].ray_state in (RayState.DRAINING, RayState.DEAD)
    took = lab.until(lambda s: s.nodes["train-02"].ray_state is RayState.DEAD, "drained")
    assert took < 30
    lab.bring_back("train-02")


def test_the_deadline_of_a_busy_drain_is_ours_to_enforce(lab: LiveLab) -> None:
    lab.submit("busy", gpus=8)
    lab.until(lambda s: "busy" in s.jobs and s.jobs["busy"].checkpoint_step, "gang at work")
    job = lab.read().jobs["busy"]
    (node,) = job.nodes
    now = lab.incarnation(node)
    order = lab.order(NodeDrain(node=node, incarnation=now, deadline_s=1))
    lab.actuator.execute(order)
    time.sleep(1.2)  # the deadline itself must pass
    assert lab.read().nodes[node].ray_state is RayState.DRAINING
    lab.actuator.enforce(order)
    lab.until(lambda s: s.nodes[node].ray_state is RayState.DEAD, "ended")
    lab.until(lambda s: s.jobs["busy"].state is JobState.STOPPED, "gang stopped")
    assert lab.read().jobs["busy"].nodes == (node,), "it keeps the node that it stopped on"
    lab.bring_back(node)


def test_a_quarantined_gpu_is_seen_by_none_of_fifty_tasks(lab: LiveLab) -> None:
    now = lab.incarnation("train-03")
    lab.actuator.execute(lab.order(GpuQuarantine(node="train-03", incarnation=now, gpu=5)))
    assert lab.read().nodes["train-03"].hidden_gpus == (5,)
    seen = lab.driver(IDS_OF_MANY_TASKS % "train-03").split(maxsplit=1)
    assert seen[0] == "50"
    assert seen[1].strip() == "[0, 1, 2, 3, 4, 6, 7]"


def test_a_hidden_gpu_stays_hidden_over_a_restart(lab: LiveLab) -> None:
    now = lab.incarnation("train-03")
    if lab.read().nodes["train-03"].hidden_gpus != (5,):
        lab.actuator.execute(lab.order(GpuQuarantine(node="train-03", incarnation=now, gpu=5)))
    provider, lab.provider = (
        lab.provider,
        type(lab.provider)(lab.client, fence=lab.actuator.fences, hidden=lambda _: (5,)),
    )
    try:
        lab.lose("train-03")
        lab.provider.execute(lab.order(NodeRestart(node="train-03", incarnation=now)))
        lab.until(lambda s: s.nodes["train-03"].ray_state is RayState.ALIVE, "alive")
        lab.until(lambda s: s.fences["train-03"].sealed, "sealed")
        node = lab.read().nodes["train-03"]
        assert (node.gpus, node.hidden_gpus, lab.read().fences["train-03"].wanted) == (8, (5,), 7)
        uncordon = NodeUncordon(node="train-03", incarnation=node.incarnation)
        lab.actuator.execute(lab.order(uncordon))
        lab.until(lambda s: s.nodes["train-03"].gpus_free == 7, "seven free")
        seen = lab.driver(IDS_OF_MANY_TASKS % "train-03").split(maxsplit=1)
        assert seen[1].strip() == "[0, 1, 2, 3, 4, 6, 7]"
    finally:
        lab.provider = type(provider)(lab.client, fence=lab.actuator.fences)
        lab.lose("train-03")
        lab.bring_back("train-03")
        lab.provider = provider


def test_a_gpu_in_use_must_be_drained_before_it_is_quarantined(lab: LiveLab) -> None:
    lab.submit("holds-all", gpus=8)
    lab.until(lambda s: "holds-all" in s.jobs and s.jobs["holds-all"].nodes, "gang placed")
    (node,) = lab.read().jobs["holds-all"].nodes
    quarantine = GpuQuarantine(node=node, incarnation=lab.incarnation(node), gpu=2)
    with pytest.raises(EffectFailed, match="Drain the node first"):
        lab.actuator.execute(lab.order(quarantine))
    lab.stop("holds-all")


def test_s29_orders_for_another_lab_or_session_do_nothing(lab: LiveLab) -> None:
    now = lab.incarnation("train-01")
    cordon = NodeCordon(node="train-01", incarnation=now)
    restart = NodeRestart(node="train-01", incarnation=now)
    for change in ({"cluster": "lab-00000000"}, {"session": "session_of_yesterday"}):
        with pytest.raises(EffectFailed):
            lab.actuator.execute(lab.order(cordon, **change))
        with pytest.raises(EffectFailed):
            lab.provider.execute(lab.order(restart, **change))
    with pytest.raises(EffectFailed, match="This is lab"):
        lab.client.ask("inject", lab_id="00000000", fault="node-loss", node="train-01")
    with pytest.raises(EffectFailed, match="session"):
        lab.client.ask("inject", session="another", fault="node-loss", node="train-01")
    state = lab.read()
    assert state.fences == {}
    assert state.nodes["train-01"].incarnation == now


def test_s6_a_lower_fencing_token_is_refused_by_both_providers(lab: LiveLab) -> None:
    now = lab.incarnation("train-01")
    high = lab.order(NodeUncordon(node="train-01", incarnation=now), token=10_000)
    lab.actuator.execute(high)
    with pytest.raises(LeaseLost):
        lab.actuator.execute(lab.order(NodeCordon(node="train-01", incarnation=now)))
    lab._count = iter(range(10_001, 1_000_000))
    with pytest.raises(EffectFailed, match="takes work"):
        lab.provider.execute(lab.order(NodeRestart(node="train-01", incarnation=now)))
    stale = lab.order(NodeRestart(node="train-01", incarnation=now), token=3)
    with pytest.raises(LeaseLost):
        lab.client.ask("restart", key=stale.key, token=3, node="train-01", incarnation=now)
    lab.actuator.execute(lab.order(NodeUncordon(node="train-01", incarnation=now)))
    assert lab.incarnation("train-01") == now


def test_the_same_key_never_acts_twice(lab: LiveLab) -> None:
    before = set(lab.read().nodes)
    order = lab.order(PoolScale(pool="spare", add=1))
    first = lab.provider.execute(order)
    again = lab.provider.execute(order)
    assert "already done" in again.text
    assert first.text in again.text
    lab.until(lambda s: "spare-01" in s.nodes, "added")
    assert set(lab.read().nodes) - before == {"spare-01"}
    lab.client.inject("node-loss", "spare-01")
    lab.until(lambda s: s.nodes["spare-01"].ray_state is RayState.DEAD, "gone")


def test_a_restart_never_touches_a_raylet_that_lives(lab: LiveLab) -> None:
    now = lab.incarnation("train-02")
    with pytest.raises(EffectFailed, match="never touches what lives"):
        lab.provider.execute(lab.order(NodeRestart(node="train-02", incarnation=now)))
    assert lab.incarnation("train-02") == now
    lab.actuator.execute(lab.order(NodeUncordon(node="train-02", incarnation=now)))


def test_an_order_for_an_earlier_incarnation_is_refused(lab: LiveLab) -> None:
    with pytest.raises(EffectFailed, match="another raylet"):
        lab.actuator.execute(lab.order(NodeCordon(node="train-01", incarnation="ab" * 28)))

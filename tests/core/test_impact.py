"""The blast radius of each action, and the generation that a decision rests on (S5)."""

from datetime import timedelta

import msgspec
import pytest
from tests.core.policy_case import DEAD, NIGHT, UNKNOWN, Given, gang, nodes

from watchkeeper.core.action import (
    Action,
    CheckRun,
    GpuQuarantine,
    GpuReset,
    JobPreempt,
    JobRequeue,
    NodeCordon,
    NodeDrain,
    NodeReplace,
    NodeRestart,
    NodeUncordon,
    PoolScale,
    TicketOpen,
    kind_of,
)
from watchkeeper.core.cluster import JobState, RayState
from watchkeeper.core.impact import generation, is_out, out_by_domain, simulate
from watchkeeper.core.proposal import Impact
from watchkeeper.core.telemetry import Snapshot

N = {"node": "train-01", "incarnation": "inc-1"}
DRAIN = NodeDrain(**N)


def seen(**given: object) -> Snapshot:
    return Given(**given)._snapshot()


def impact(action: Action = DRAIN, **given: object) -> Impact:
    return simulate(seen(**given), action)


@pytest.mark.parametrize(
    ("change", "fenced", "out"),
    [
        ({}, (), False),
        ({}, ("train-01",), True),
        (DEAD, (), True),
        (UNKNOWN, (), True),
        ({"ray_state": RayState.DRAINING}, (), True),
    ],
    ids=["alive", "fenced", "dead", "unknown", "draining"],
)
def test_a_node_is_out_unless_it_is_alive_and_open(
    change: dict[str, object], fenced: tuple[str, ...], out: bool
) -> None:
    snapshot = seen(nodes=nodes(train_01=change), fenced=fenced)
    assert is_out(snapshot, snapshot.nodes["train-01"]) is out


def test_nodes_out_are_counted_by_every_domain_and_the_head_in_none() -> None:
    fleet = nodes(train_01=DEAD, train_03={"control_path": True, **DEAD})
    out, size = out_by_domain(seen(nodes=fleet, fenced=("train-02",)))
    assert (out["fleet"], out["pool:train"], out["rack:r1"]) == (2, 2, 2)
    assert "rack:r2" not in out
    assert (size["fleet"], size["rack:r1"], size["rack:r2"]) == (3, 2, 1)


def test_a_drain_stops_the_gangs_on_the_node_and_takes_its_gpus() -> None:
    gangs = {"g": gang("g", "train-01", "train-02", tenant="ml"), "h": gang("h", "train-03")}
    found = impact(jobs=gangs)
    assert (found.jobs, found.tenants, found.nodes) == (("g",), ("ml",), ("train-01",))
    assert (found.gpus, found.pool, found.pool_size) == (8.0, "train", 4)
    assert (found.pool_out_before, found.pool_out_after) == (0, 1)
    assert found.checkpoint_age_s == 60.0


@pytest.mark.parametrize(
    ("action", "stops", "gpus", "leaves"),
    [
        (NodeCordon(**N), False, 8.0, 1),
        (NodeDrain(**N), True, 8.0, 1),
        (NodeRestart(**N), True, 8.0, 1),
        (NodeReplace(**N), True, 8.0, 1),
        (GpuReset(gpu=1, **N), True, 1.0, 0),
        (GpuQuarantine(gpu=1, **N), True, 1.0, 0),
        (NodeUncordon(**N), False, 0.0, 0),
        (CheckRun(**N), False, 0.0, 0),
    ],
    ids=lambda v: kind_of(v) if isinstance(v, msgspec.Struct) else "",
)
def test_what_each_node_action_touches(
    action: Action, stops: bool, gpus: float, leaves: int
) -> None:
    found = impact(action, jobs={"g": gang("g", "train-01")})
    assert (found.jobs, found.gpus) == (("g",) if stops else (), gpus)
    assert found.pool_out_after - found.pool_out_before == leaves


def test_gangs_that_do_not_run_are_not_stopped_again() -> None:
    assert impact(jobs={"g": gang("g", "train-01", state=JobState.STOPPED)}).jobs == ()


def test_a_node_that_is_out_already_does_not_count_twice() -> None:
    found = impact(NodeRestart(**N), nodes=nodes(train_01=DEAD, train_03=DEAD))
    assert (found.pool_out_before, found.pool_out_after) == (2, 2)


def test_domains_count_who_else_is_out_and_never_the_target_itself() -> None:
    found = impact(nodes=nodes(train_01=DEAD, train_02=DEAD))
    assert found.domain_out["rack:r1"] == 1
    assert found.domain_out["fleet"] == 1
    assert found.domain_size["rack:r1"] == 2


def test_no_count_is_ever_negative_not_even_for_a_dead_head() -> None:
    found = impact(nodes=nodes(train_01={"control_path": True, **DEAD}))
    assert min(found.domain_out.values()) == 0


def test_lost_work_is_counted_from_the_checkpoint_for_all_gpus_of_the_gang() -> None:
    hour = {"checkpoint_at": NIGHT - timedelta(hours=1), "gpus": 16.0}
    found = impact(NodeDrain(**N), jobs={"g": gang("g", "train-01", "train-02", **hour)})
    downtime = 120 / 3600 * 8
    assert found.gpu_hours == pytest.approx(16.0 + downtime, abs=0.01)


def test_without_a_checkpoint_all_of_the_attempt_is_lost_and_its_age_is_unknown() -> None:
    since = {"state_since": NIGHT - timedelta(hours=2)}
    gangs = {
        "a": gang("a", "train-01", checkpoint_at=None, gpus=8.0, **since),
        "b": gang("b", "train-01", gpus=0.0),
    }
    found = impact(jobs=gangs)
    assert found.checkpoint_age_s is None
    assert found.gpu_hours >= 16.0


def test_a_checkpoint_from_the_future_saves_nothing_below_zero() -> None:
    gangs = {"g": gang("g", "train-01", checkpoint_at=NIGHT + timedelta(hours=5))}
    found = impact(jobs=gangs)
    assert found.gpu_hours >= 0
    assert found.checkpoint_age_s == 0.0


def test_a_preemption_stops_the_gang_and_a_requeue_stops_nothing() -> None:
    gangs = {"g": gang("g", "train-01", tenant="ml")}
    preempt = impact(JobPreempt(job="g", attempt_id="g-a1"), jobs=gangs)
    requeue = impact(JobRequeue(job="g", attempt_id="g-a1"), jobs=gangs)
    assert (preempt.jobs, preempt.tenants, preempt.gpus) == (("g",), ("ml",), 8.0)
    assert (requeue.jobs, requeue.gpus, requeue.pool) == ((), 0.0, "train")


@pytest.mark.parametrize(
    "action",
    [
        NodeDrain(node="stranger", incarnation="x"),
        JobPreempt(job="stranger", attempt_id="x"),
        TicketOpen(subject="", title="t"),
    ],
    ids=kind_of,
)
def test_what_is_not_there_is_not_touched(action: Action) -> None:
    assert impact(action) == Impact()


def test_scaling_knows_the_size_of_its_pool() -> None:
    found = impact(PoolScale(pool="train", add=1))
    assert (found.pool, found.pool_size, found.jobs) == ("train", 4, ())


SHOWN = Impact(jobs=("a", "b"), nodes=("n",), gpus=8.0, pool_out_after=2)


@pytest.mark.parametrize(
    ("now", "within"),
    [
        ({}, True),
        ({"jobs": ("a",)}, True),
        ({"gpus": 1.0, "pool_out_after": 0}, True),
        ({"jobs": ("a", "c")}, False),
        ({"nodes": ("n", "m")}, False),
        ({"gpus": 8.5}, False),
        ({"pool_out_after": 3}, False),
    ],
    ids=str,
)
def test_an_impact_is_within_what_was_shown_or_it_is_not(
    now: dict[str, object], within: bool
) -> None:
    assert msgspec.structs.replace(SHOWN, **now).within(SHOWN) is within


# The generation: what a decision rests on, and what may drift.

BASE = {"jobs": {"g": gang("g", "train-01")}}


def hashed(action: Action = DRAIN, policy: str = "v1", **given: object) -> str:
    return generation(seen(**{**BASE, **given}), action, policy)


@pytest.mark.parametrize(
    "drift",
    [
        pytest.param({"nodes": nodes(train_01={"incarnation": "inc-9"})}, id="another-incarnation"),
        pytest.param(
            {"jobs": {**BASE["jobs"], "h": gang("h", "train-01")}}, id="one-more-job-on-it"
        ),
        pytest.param({"jobs": {}}, id="a-job-gone"),
        pytest.param({"jobs": {"g": gang("g", "train-01", attempt_id="g-a2")}}, id="a-new-attempt"),
        pytest.param({"nodes": nodes(train_02=DEAD)}, id="a-neighbour-in-the-rack-out"),
        pytest.param({"fenced": ("train-02",)}, id="a-fence-on-a-neighbour"),
        pytest.param({"policy": "v2"}, id="another-policy"),
    ],
)
def test_s5_the_generation_changes_with(drift: dict[str, object]) -> None:
    assert hashed(**drift) != hashed()


@pytest.mark.parametrize(
    "quiet",
    [
        pytest.param({"fenced": ("train-01",)}, id="our-own-fence-on-the-target"),
        pytest.param({"nodes": nodes(train_04=DEAD)}, id="a-node-of-the-pool-out-in-another-rack"),
        pytest.param({"fenced": ("train-04",)}, id="a-fence-on-a-node-of-another-rack"),
        pytest.param({"silent_s": 9.0}, id="the-age-of-telemetry"),
        pytest.param({"jobs": {**BASE["jobs"], "h": gang("h", "train-03")}}, id="a-job-elsewhere"),
        pytest.param({"nodes": nodes(train_01={"gpus_free": 0.5})}, id="free-gpus"),
        pytest.param(
            {"jobs": {"g": gang("g", "train-01", step=99, checkpoint_step=98)}}, id="progress"
        ),
    ],
)
def test_s5_the_generation_stays_through(quiet: dict[str, object]) -> None:
    assert hashed(**quiet) == hashed()


def test_s5_time_alone_changes_no_generation() -> None:
    now = seen(**BASE)
    later = Snapshot(
        at=now.at + timedelta(hours=1),
        steady=now.steady + 3600,
        state=now.state,
        frame=now.frame,
        sources=now.sources,
    )
    assert generation(now, DRAIN, "v1") == generation(later, DRAIN, "v1")


def test_s5_a_new_session_of_ray_changes_every_generation() -> None:
    now = seen(**BASE)
    anew = Snapshot(
        at=now.at,
        steady=now.steady,
        state=msgspec.structs.replace(now.state, session="another"),
        frame=now.frame,
        sources=now.sources,
    )
    for action in (DRAIN, JobRequeue(job="g", attempt_id="g-a1"), PoolScale(pool="train", add=1)):
        assert generation(now, action, "v1") != generation(anew, action, "v1")


def test_s5_a_requeue_rests_on_the_attempt_that_ended() -> None:
    requeue = JobRequeue(job="g", attempt_id="g-a1")
    again = {"jobs": {"g": gang("g", "train-01", attempt_id="g-a2")}}
    assert hashed(requeue) != hashed(requeue, **again)

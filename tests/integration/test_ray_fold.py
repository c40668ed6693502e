"""What one reading means, without Ray: attempts, room, names, our own things left out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.adapters.gang_progress import Progress
from watchkeeper.adapters.lab_sim import xid_line
from watchkeeper.adapters.ray_fold import (
    CheckMark,
    Rows,
    fold_checks,
    fold_demand,
    fold_fences,
    fold_jobs,
    fold_nodes,
)
from watchkeeper.adapters.ray_gcs import (
    ActorRow,
    BundleRow,
    DriverRow,
    GroupRow,
    NodeRow,
    Usage,
    UseRow,
)
from watchkeeper.adapters.ray_jobs import ATTEMPT, JOB, Submission, latest_attempts
from watchkeeper.adapters.ray_names import fence_name, parse_fence
from watchkeeper.core.cluster import JobState, RayState

NOW = datetime(2026, 3, 4, 2, 30, tzinfo=UTC)


def node(name: str, ident: str = "", *, alive: bool = True, started: float = 1.0, **more: Any):
    fields: dict[str, Any] = {
        "node_id": ident or name,
        "alive": alive,
        "draining": False,
        "head": False,
        "address": "10.0.0.1",
        "hostname": "host",
        "started": started,
        "ended": 0.0 if alive else started + 5,
        "total": {"GPU": 8.0, "CPU": 16.0},
        "labels": {"watchkeeper.io/node": name, "watchkeeper.io/pool": "train"},
    }
    return NodeRow(**{**fields, **more})


def group(name: str, gpus: list[float], **more: Any) -> GroupRow:
    fields: dict[str, Any] = {
        "group_id": name,
        "raw_id": b"",
        "name": name,
        "namespace": "",
        "state": "pending",
        "strategy": "STRICT_SPREAD",
        "job_id": "01",
        "created": 1.0,
        "bundles": tuple(BundleRow(g, "", {"watchkeeper.io/pool": "train"}) for g in gpus),
    }
    return GroupRow(**{**fields, **more})


def driver(job_id: str = "01", submission: str = "gang", **more: Any) -> DriverRow:
    fields: dict[str, Any] = {
        "job_id": job_id,
        "dead": False,
        "started": 1.0,
        "ended": 0.0,
        "namespace": "",
        "entrypoint": "python x.py",
        "metadata": {},
        "submission_id": submission,
    }
    return DriverRow(**{**fields, **more})


def rows(**more: Any) -> Rows:
    fields: dict[str, Any] = {
        "now": NOW,
        "nodes": [node("a"), node("b")],
        "draining": frozenset(),
        "usage": Usage(),
        "actors": [],
        "groups": [],
        "drivers": [],
    }
    return Rows(**{**fields, **more})


def nodes_of(read: Rows):
    return fold_nodes(read, lambda *_: NOW)


def test_the_newest_incarnation_behind_a_name_counts_and_a_living_one_is_newest() -> None:
    read = rows(
        nodes=[
            node("a", "old", alive=False, started=1),
            node("a", "new", started=9),
            node("b", "b1", alive=False, started=2),
            node("b", "b2", alive=False, started=5),
        ]
    )
    found = nodes_of(read)
    assert (found["a"].incarnation, found["a"].ray_state) == ("new", RayState.ALIVE)
    assert (found["b"].incarnation, found["b"].ray_state) == ("b2", RayState.DEAD)


def test_a_node_without_labels_is_named_by_its_host_so_that_a_restart_keeps_the_name() -> None:
    one = nodes_of(rows(nodes=[node("x", "i1", labels={})]))
    two = nodes_of(rows(nodes=[node("x", "i2", labels={})]))
    assert list(one) == list(two) == ["host-10.0.0.1"]
    assert one["host-10.0.0.1"].pool == "default"


@pytest.mark.parametrize(
    ("processes", "gone"),
    [(None, None), ({}, None), ({"a": True}, False), ({"a": False}, True)],
    ids=["no provider", "provider does not know it", "alive", "gone"],
)
def test_s10_only_the_provider_says_that_a_process_is_gone(
    processes: dict[str, bool] | None, gone: bool | None
) -> None:
    assert nodes_of(rows(processes=processes))["a"].process_gone is gone


def test_a_drain_shows_at_once_before_the_raylets_own_word() -> None:
    assert nodes_of(rows(draining=frozenset({"a"})))["a"].ray_state is RayState.DRAINING


def test_only_kept_holders_hide_a_gpu() -> None:
    def holder(ident: str, gpu: int) -> ActorRow:
        return ActorRow(ident, "wk", "watchkeeper", "09", "a", True, "", {"GPU": 1.0}, (gpu,))

    read = rows(actors=[holder("x", 3), holder("y", 4)], kept=frozenset({"x"}))
    assert nodes_of(read)["a"].hidden_gpus == (3,)


@pytest.mark.parametrize(
    ("gpus", "strategy", "fits"),
    [
        ([8, 8], "STRICT_SPREAD", True),
        ([8, 8, 8], "STRICT_SPREAD", False),
        ([9], "STRICT_SPREAD", False),
        ([4, 4], "STRICT_PACK", True),
        ([8, 8], "STRICT_PACK", False),
        ([4, 4, 4, 4], "PACK", True),
        ([6, 6, 4], "PACK", False),
    ],
)
def test_a_gang_fits_nowhere_only_if_the_empty_pool_could_not_hold_it(
    gpus: list[float], strategy: str, fits: bool
) -> None:
    read = rows(groups=[group("g", gpus, strategy=strategy)])
    found = nodes_of(read)
    (demand,) = fold_demand(read, found, {}, {})
    assert demand.fits_nowhere is not fits
    assert demand.pending_gpus == sum(gpus)


def test_a_dead_node_still_counts_as_room_because_it_is_repaired_not_replaced() -> None:
    read = rows(nodes=[node("a"), node("b", alive=False)], groups=[group("g", [8, 8])])
    (demand,) = fold_demand(read, nodes_of(read), {}, {})
    assert not demand.fits_nowhere
    assert demand.total_gpus == 8


def test_our_fences_are_neither_demand_nor_use() -> None:
    mine = [
        group(
            fence_name("a", 7, i),
            [1],
            namespace="watchkeeper",
            state="created",
            bundles=(BundleRow(1.0, "a", {}),),
        )
        for i in range(7)
    ] + [group(fence_name("a", 7, 7), [1], namespace="watchkeeper")]
    usage = Usage(nodes={"a": UseRow({"GPU": 8.0}, {"GPU": 0.0})})
    read = rows(groups=mine, usage=usage)
    found = nodes_of(read)
    fences = fold_fences(read)
    (demand,) = fold_demand(read, found, fences, {})
    assert (fences["a"].held, fences["a"].wanted, fences["a"].token) == (7, 8, 7)
    assert not fences["a"].sealed
    assert (demand.running_gpus, demand.pending_gpus) == (1.0, 0.0)


def test_a_strangers_group_with_our_name_in_another_namespace_is_no_fence() -> None:
    assert fold_fences(rows(groups=[group(fence_name("a", 1, 0), [1])])) == {}


def test_a_fence_on_a_raylet_that_died_holds_nothing() -> None:
    held = group(
        fence_name("a", 1, 0),
        [1],
        namespace="watchkeeper",
        state="created",
        bundles=(BundleRow(1.0, "dead-one", {}),),
    )
    assert fold_fences(rows(groups=[held]))["a"].held == 0


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PENDING", JobState.WAITING),
        ("RUNNING", JobState.RUNNING),
        ("FAILED", JobState.STOPPED),
        ("STOPPED", JobState.CANCELLED),
        ("SUCCEEDED", JobState.SUCCEEDED),
        ("SOMETHING_NEW", JobState.WAITING),
    ],
)
def test_a_submissions_status_is_mapped(status: str, state: JobState) -> None:
    read = rows(submissions=[Submission(status=status, entrypoint="x", id="gang")])
    assert fold_jobs(read, nodes_of(read))["gang"].state is state


def test_a_running_job_whose_group_waits_is_waiting() -> None:
    read = rows(
        submissions=[Submission(status="RUNNING", entrypoint="x", id="gang")],
        drivers=[driver()],
        groups=[group("g", [8, 4])],
    )
    job = fold_jobs(read, nodes_of(read))["gang"]
    assert job.state is JobState.WAITING
    assert (job.pending_gpus, job.pending_bundle_gpus, job.pool) == (12, 8, "train")


def test_an_older_attempt_is_history_and_what_it_held_is_not_counted() -> None:
    second = Submission(
        status="RUNNING", entrypoint="x", id="gang-a2", metadata={JOB: "gang", ATTEMPT: "2"}
    )
    read = rows(
        submissions=[Submission(status="FAILED", entrypoint="x", id="gang"), second],
        drivers=[driver("01", "gang", dead=True), driver("02", "gang-a2")],
        groups=[
            group("g1", [8], job_id="01", state="created"),
            group("g2", [4], job_id="02", state="created"),
        ],
    )
    job = fold_jobs(read, nodes_of(read))["gang"]
    assert (job.attempt, job.attempt_id, job.gpus) == (2, "gang-a2", 4)


def test_a_stopped_job_runs_nowhere_but_keeps_its_size_and_checkpoint() -> None:
    report = Progress(
        job="gang",
        step=37,
        step_at=1.0,
        checkpoint_step=30,
        checkpoint_at=1.0,
        nodes={"a": (0, 1, 2, 3)},
    )
    read = rows(
        submissions=[Submission(status="FAILED", entrypoint="x", id="gang")],
        progress={"gang": report}.get,
    )
    job = fold_jobs(read, nodes_of(read))["gang"]
    assert (job.nodes, job.gpus, job.checkpoint_step) == ((), 4.0, 30)


@pytest.mark.parametrize(("lost", "state"), [(True, JobState.STOPPED), (False, JobState.SUCCEEDED)])
def test_an_ended_plain_driver_is_stopped_only_if_it_lost_a_node(
    lost: bool, state: JobState
) -> None:
    read = rows(
        drivers=[driver("05", "", dead=True, ended=2.0)],
        died_with_node=frozenset({"05"} if lost else ()),
    )
    assert fold_jobs(read, nodes_of(read))["driver-05"].state is state


def test_our_own_and_rays_own_drivers_are_no_jobs() -> None:
    mine = [
        driver("06", "", namespace="watchkeeper"),
        driver("07", "", namespace="_ray_internal_x"),
    ]
    read = rows(drivers=mine)
    assert fold_jobs(read, nodes_of(read)) == {}


def test_a_check_that_never_reported_has_failed() -> None:
    mark = CheckMark(
        node="a", incarnation="i", key="k", passed=None, detail="runs", ends_by=NOW.timestamp() - 1
    )
    assert fold_checks(rows(checks=[mark]))["a"].passed is False


@given(
    node=st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True),
    token=st.integers(0, 10**9),
    index=st.integers(0, 63),
)
def test_a_fences_name_tells_its_node_and_token(node: str, token: int, index: int) -> None:
    assert parse_fence(fence_name(node, token, index)) == (node, token)


@given(st.lists(st.tuples(st.sampled_from("xy"), st.integers(1, 9)), min_size=1))
def test_the_latest_attempt_of_each_job_is_its_highest(pairs: list[tuple[str, int]]) -> None:
    subs = [
        Submission(status="FAILED", id=f"{n}-{i}", metadata={JOB: n, ATTEMPT: str(a)})
        for i, (n, a) in enumerate(pairs)
    ]
    latest = latest_attempts(subs)
    for name, sub in latest.items():
        assert sub.attempt == max(a for n, a in pairs if n == name)


def test_a_simulated_xid_has_the_drivers_own_form() -> None:
    assert xid_line(3, 79, 1234.56789) == (
        "[ 1234.567890] NVRM: Xid (PCI:0000:13:00): 79, pid='<unknown>', name=<unknown>, "
        "GPU has fallen off the bus.\n"
    )

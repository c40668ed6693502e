"""Gangs before Ray, without Ray: how what is kept and what Ray tells become one job."""

from __future__ import annotations

import json
from typing import Any

import pytest

from watchkeeper.adapters.ray_fold import Rows, fold_demand, fold_jobs, fold_nodes
from watchkeeper.adapters.ray_gcs import BundleRow, Usage, UseRow
from watchkeeper.adapters.ray_jobs import ATTEMPT, JOB, Submission
from watchkeeper.adapters.ray_names import NAMESPACE, parse_seats, seats_name
from watchkeeper.adapters.ray_queue import (
    SEATS_ENV,
    SHAPE,
    Asked,
    asked_again,
    parse_asked,
    shape_of,
)
from watchkeeper.adapters.ray_scaler import fold_scaler
from watchkeeper.core.cluster import Job, JobState
from watchkeeper.core.errors import Malformed

from .test_ray_fold import NOW, driver, group, node

ASKED = Asked(
    name="bert-7", entrypoint="python train.py", workers=2, gpus=8.0, at=100.0, pool="train",
    least=1, within="rack", tenant="nlp", priority=9, runtime_s=3600.0,
)  # fmt: skip


def sub(status: str, attempt: int = 1, **more: Any) -> Submission:
    own = {JOB: "bert-7", ATTEMPT: str(attempt), "tenant": "nlp", "priority": "9"}
    return Submission(
        id=f"bert-7-a{attempt}", status=status, entrypoint="python train.py",
        metadata={**own, **shape_of(ASKED)}, start_time=1000, end_time=2000, **more,
    )  # fmt: skip


def jobs(**more: Any) -> dict[str, Job]:
    fields: dict[str, Any] = {
        "now": NOW, "nodes": [node("a"), node("b")], "draining": frozenset(), "usage": Usage(),
        "actors": [], "groups": [], "drivers": [],
    }  # fmt: skip
    rows = Rows(**{**fields, **more})
    nodes = fold_nodes(rows, lambda _ident, _state: NOW)
    return fold_jobs(rows, nodes)


def test_what_is_kept_waits_with_its_shape() -> None:
    job = jobs(held={"bert-7": ASKED})["bert-7"]
    assert (job.state, job.held, job.attempt_id) == (JobState.WAITING, True, "bert-7-a0")
    assert (job.gpus, job.pending_gpus, job.pending_bundle_gpus) == (16.0, 16.0, 8.0)
    assert (job.workers, job.least, job.within, job.runtime_s) == (2, 1, "rack", 3600.0)


@pytest.mark.parametrize(
    ("status", "state", "held"),
    [
        pytest.param("RUNNING", JobState.RUNNING, False, id="it was told to stop, and saves"),
        pytest.param("STOPPED", JobState.WAITING, True, id="it stopped, and waits to go on"),
        pytest.param("SUCCEEDED", JobState.SUCCEEDED, False, id="it was done before it heard"),
    ],
)
def test_a_preempted_gang_waits_once_its_attempt_has_ended(
    status: str, state: JobState, held: bool
) -> None:
    again = asked_again(sub("RUNNING"), [], 150.0)
    assert again is not None
    assert (again.attempt, again.attempt_id, again.preempted) == (1, "bert-7-a1", True)
    job = jobs(held={"bert-7": again}, submissions=[sub(status)])["bert-7"]
    assert (job.state, job.held) == (state, held)


def test_what_was_handed_over_counts_no_more() -> None:
    again = asked_again(sub("RUNNING"), [], 150.0)
    assert again is not None
    job = jobs(held={"bert-7": again}, submissions=[sub("STOPPED"), sub("RUNNING", 2)])["bert-7"]
    assert (job.state, job.attempt, job.held) == (JobState.RUNNING, 2, False)


def test_a_gang_that_we_ended_at_once_stands_stopped_and_its_owners_end_stays_an_end() -> None:
    ended = jobs(submissions=[sub("STOPPED")], ended={"bert-7": "bert-7-a1"})["bert-7"]
    owners = jobs(submissions=[sub("STOPPED")])["bert-7"]
    assert (ended.state, owners.state) == (JobState.STOPPED, JobState.CANCELLED)


def test_seats_are_the_gangs_gpus_and_are_taken_at_once() -> None:
    seats = group(
        seats_name("bert-7-a1"), [8.0, 8.0], namespace=NAMESPACE, state="created", job_id="99",
        bundles=(BundleRow(8.0, "a", {}), BundleRow(8.0, "b", {})),
    )  # fmt: skip
    usage = Usage(nodes={n: UseRow({"GPU": 8.0}, {"GPU": 8.0}) for n in "ab"})  # lags behind
    rows = Rows(
        now=NOW, nodes=[node("a"), node("b")], draining=frozenset(), usage=usage, actors=[],
        groups=[seats], drivers=[driver("01", "bert-7-a1")], submissions=[sub("RUNNING")],
    )  # fmt: skip
    nodes = fold_nodes(rows, lambda _ident, _state: NOW)
    assert [nodes[n].gpus_free for n in "ab"] == [0.0, 0.0]
    starting = fold_jobs(rows, nodes)["bert-7"]
    assert (starting.gpus, starting.nodes) == (16.0, ("a", "b")), "before its workers are there"
    assert parse_seats("wk-fence-a-1-2") is None


def test_held_gangs_are_demand_and_one_too_large_for_the_pool_fits_nowhere() -> None:
    rows = Rows(
        now=NOW, nodes=[node("a")], draining=frozenset(), usage=Usage(), actors=[], groups=[],
        drivers=[], held={"wide": parse_asked({**_body(), "name": "wide", "workers": 3})},
    )  # fmt: skip
    nodes = fold_nodes(rows, lambda _ident, _state: NOW)
    (train,) = fold_demand(rows, nodes, {}, fold_jobs(rows, nodes))
    assert (train.pending_gpus, train.waiting_jobs) == (24.0, 1)
    assert (train.fits_nowhere, train.blocked_job) == (True, "wide")


def test_it_is_handed_to_ray_with_its_seats_its_time_to_save_and_all_that_is_needed_again() -> None:
    body = ASKED.request("ab12", ["n1", "n2"], 2)
    told = body["runtime_env"]["env_vars"]
    assert body["submission_id"] == "bert-7-a1"
    assert (told[SEATS_ENV], told["WATCHKEEPER_WORKERS"]) == ("ab12", "2")
    assert told["RAY_JOB_STOP_WAIT_TIME_S"] == "30"
    assert json.loads(body["metadata"][SHAPE])["least"] == 1


def test_a_strangers_shape_is_read_off_its_placement_group_or_it_is_not_stopped() -> None:
    strange = Submission(id="x", status="RUNNING", entrypoint="python x.py")
    again = asked_again(strange, [group("theirs", [4.0, 4.0])], 1.0)
    assert again is not None
    assert (again.workers, again.gpus, again.pool, again.seats) == (2, 4.0, "train", False)
    assert asked_again(strange, [], 1.0) is None, "nobody can say what it would need to go on"


def _body() -> dict[str, Any]:
    return {
        "name": "g",
        "entrypoint": "true",
        "workers": 1,
        "gpus": 8.0,
        "at": 1.0,
        "pool": "train",
    }


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"name": "../x"}, "one explicit name"),
        ({"entrypoint": "  "}, "no entrypoint"),
        ({"workers": 0}, "workers must be 1"),
        ({"gpus": 0}, "gpus above 0"),
        ({"least": 2}, "least must be between 0 and its 1"),
        ({"surprise": 1}, "unknown field"),
    ],
)
def test_what_is_no_gang_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(Malformed, match=says):
        parse_asked({**_body(), **wrong})


@pytest.mark.parametrize(
    ("node_type", "report", "owner"),
    [
        pytest.param("", None, "", id="no autoscaler"),
        pytest.param("", b"not json", "", id="a report that cannot be read"),
        pytest.param(
            "", b'{"autoscaler_report": {"active_nodes": {"node_ab12": 1}}}', "",
            id="a monitor that only reports",
        ),
        pytest.param(
            "", b'{"autoscaler_report": {"active_nodes": {"gpu_8x": 1}}}', "Ray's autoscaler",
            id="one that knows node types",
        ),
        pytest.param("gpu-workers", None, "Ray's autoscaler", id="raylets that it started"),
    ],
)  # fmt: skip
def test_who_else_scales(node_type: str, report: bytes | None, owner: str) -> None:
    usage = Usage(nodes={"a": UseRow({}, {}, node_type)})
    assert fold_scaler(usage, report) == owner

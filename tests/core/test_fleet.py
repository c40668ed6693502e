"""The fleet as it is drawn: the worst fact wins, and Unknown is never drawn as healthy (S10)."""

import msgspec
import pytest
from tests.core.policy_case import DEAD, UNKNOWN, Given, gang, nodes

from watchkeeper.control.fleet import RANK, job_views, node_views, pool_views
from watchkeeper.core.cluster import CheckResult, JobState, RayState
from watchkeeper.core.desk import NodeView
from watchkeeper.core.telemetry import Snapshot, SourceState


def seen(**given: object) -> Snapshot:
    return Given(**given)._snapshot()


def first(snapshot: Snapshot, name: str = "train-01") -> NodeView:
    return next(v for v in node_views(snapshot, ()) if v.name == name)


@pytest.mark.parametrize(
    ("given", "state", "what"),
    [
        ({}, "healthy", ""),
        ({"nodes": nodes(train_01=DEAD)}, "dead", "its process is gone"),
        ({"nodes": nodes(train_01=UNKNOWN)}, "unknown", "Unknown, not healthy"),
        ({"silent_s": 600.0}, "silent", "Silent for 600 s. Unknown, not healthy"),
        ({"silent_s": float("nan")}, "silent", "Never spoke. Unknown, not healthy"),
        (
            {"nodes": nodes(train_01={"ray_state": RayState.DRAINING})},
            "draining",
            "nothing new starts",
        ),
        ({"fenced": ("train-01",)}, "cordoned", "holds 8 of 8 GPUs"),
        ({"fenced": ("train-01",), "nodes": nodes(train_01=DEAD)}, "dead", "gone"),
    ],
    ids=["healthy", "dead", "unknown", "silent", "never", "draining", "cordoned", "dead-first"],
)
def test_s10_a_node_is_drawn_by_its_worst_fact(
    given: dict[str, object], state: str, what: str
) -> None:
    view = first(seen(**given))
    assert view.state == state
    assert what in view.what
    assert view.rank == RANK.index(state)


@pytest.mark.parametrize(
    "ray",
    [
        None,
        SourceState("ray", 0.0, "connection refused"),
        SourceState("ray", 60.0),
        SourceState("ray", None),
    ],
    ids=["missing", "failed", "old", "never-answered"],
)
def test_s10_without_ray_nothing_is_healthy(ray: SourceState | None) -> None:
    now = seen()
    blind = Snapshot(
        at=now.at,
        steady=now.steady,
        state=now.state,
        frame=now.frame,
        sources={"ray": ray} if ray else {},
    )
    assert {v.state for v in node_views(blind, ())} == {"unknown"}


def test_a_check_of_an_earlier_incarnation_is_not_drawn() -> None:
    def checking(life: str) -> str:
        now = seen(fenced=("train-01",))
        check = CheckResult(node="train-01", incarnation=life, key="k", passed=None)
        state = msgspec.structs.replace(now.state, checks={"train-01": check})
        return first(
            Snapshot(
                at=now.at, steady=now.steady, state=state, frame=now.frame, sources=now.sources
            )
        ).state

    assert (checking("inc-1"), checking("inc-0")) == ("checking", "cordoned")


def test_the_worst_nodes_come_first_then_by_name() -> None:
    views = node_views(seen(nodes=nodes(train_03=DEAD), fenced=("train-04",)), ())
    assert [v.name for v in views] == ["train-03", "train-04", "train-01", "train-02"]


def test_gangs_that_do_not_run_come_first_and_say_why_they_cannot_be_requeued() -> None:
    gangs = {
        "a": gang("a", "train-01"),
        "b": gang("b", state=JobState.WAITING),
        "c": gang("c", state=JobState.STOPPED, requeue_blocked="its files are gone"),
    }
    views = job_views(seen(jobs=gangs))
    assert [v.name for v in views] == ["c", "b", "a"]
    assert [v.requeue for v in views] == [
        "its files are gone",
        "can be requeued",
        "can be requeued",
    ]


def test_a_pool_without_a_forecast_says_so() -> None:
    view = pool_views(seen(nodes=nodes(train_01=DEAD)), {}, {})[0]
    assert (view.pool, view.nodes, view.out) == ("train", 4, 1)
    assert (view.p50, view.forecast_why) == ((), "No forecast yet.")


def test_simulated_readings_are_labelled() -> None:
    assert first(seen()).simulated is True

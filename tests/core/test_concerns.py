"""Evidence counts against what it is about, and against nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from watchkeeper.control.concerns import concerns
from watchkeeper.control.look import Looker
from watchkeeper.core.action import (
    Action,
    CheckRun,
    JobRequeue,
    NodeDrain,
    PoolScale,
    TicketOpen,
)
from watchkeeper.core.cluster import World
from watchkeeper.core.incident import Incident, IncidentState
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.twin.memory import ManualClock, MemoryCluster

AT = datetime(2026, 11, 18, 1, 30, tzinfo=UTC)


@pytest.fixture
def snapshot() -> Snapshot:
    clock = ManualClock(AT)
    cluster = MemoryCluster.of(clock, {"train": 4, "infer": 2})
    cluster.run("llm", ("train-01", "train-02"))
    seen = Looker(cluster, cluster.telemetry(), clock).look()
    assert seen is not None
    return seen


def incident(target: str, node: str = "", jobs: tuple[str, ...] = ()) -> Incident:
    return Incident(
        id="INC-1",
        target=target,
        fault="node_lost",
        title="",
        state=IncidentState.OPEN,
        opened_at=AT,
        updated_at=AT,
        world=World.TWIN,
        confidence=0.96,
        node=node,
        jobs=jobs,
    )


def drain(node: str) -> Action:
    return NodeDrain(node=node, incarnation="inc0002")


def check(node: str) -> Action:
    return CheckRun(node=node, incarnation="inc0001")


GPU = incident("gpu:train-03/2", node="train-03")
RACK = incident("rack:train-r1")
SHORT = incident("pool:train")
LOST = incident("node:train-02", node="train-02")
STOPPED = incident("job:llm", jobs=("llm",))


@pytest.mark.parametrize(
    ("about", "action", "counts"),
    [
        pytest.param(GPU, drain("train-03"), True, id="a GPU's incident is about its node"),
        pytest.param(GPU, drain("train-01"), False, id="and about no other node"),
        pytest.param(GPU, drain("train-04"), False, id="not even the one beside it in the rack"),
        pytest.param(RACK, drain("train-01"), True, id="a rack's incident is about its nodes"),
        pytest.param(RACK, drain("train-03"), False, id="and about no other rack's"),
        pytest.param(SHORT, drain("train-01"), False, id="a pool that is short accuses no node"),
        pytest.param(SHORT, PoolScale(pool="train", add=1), True, id="it is about its pool"),
        pytest.param(SHORT, PoolScale(pool="infer", add=1), False, id="and about no other pool"),
        pytest.param(
            LOST, JobRequeue(job="llm", attempt_id="llm-a1"), True, id="a gang lay on the lost node"
        ),
        pytest.param(
            GPU, JobRequeue(job="llm", attempt_id="llm-a1"), False, id="a gang lay elsewhere"
        ),
        pytest.param(
            STOPPED, JobRequeue(job="llm", attempt_id="llm-a1"), True, id="a gang's own incident"
        ),
        pytest.param(STOPPED, drain("train-01"), False, id="a gang that stopped accuses no node"),
        pytest.param(STOPPED, check("train-01"), True, id="a gang's node is checked for its sake"),
        pytest.param(STOPPED, check("train-03"), False, id="and no node of which it has none"),
        pytest.param(LOST, check("train-01"), False, id="a node's incident checks that node alone"),
        pytest.param(LOST, TicketOpen(subject="x", title="x"), True, id="a ticket may always cite"),
    ],
)
def test_an_incident_counts_only_for_what_it_is_about(
    snapshot: Snapshot, about: Incident, action: Action, counts: bool
) -> None:
    assert concerns(about, action, snapshot) is counts

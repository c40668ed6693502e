"""What orders may know of spares, checks and former repairs; what Ray cannot be asked for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.core import sick_cluster as c

from watchkeeper.adapters.ray_actuator import RayActuator
from watchkeeper.core.action import JobPreempt, JobRequeue, NodeReplace
from watchkeeper.core.errors import EffectFailed
from watchkeeper.core.facts import facts_for, repairs_of
from watchkeeper.core.impact import simulate
from watchkeeper.core.ledger import LedgerView, PastEffect
from watchkeeper.core.proposal import Effect, Proposal
from watchkeeper.core.telemetry import Snapshot

REPLACE = NodeReplace(node="w1", incarnation="w1-life1")


def facts(action: object, snapshot: Snapshot) -> dict[str, object]:
    proposal = Proposal(
        id="P-1", action=action, by="agent:remediation", reason="", world=snapshot.world,
        at=snapshot.at, confidence=0.9, generation="g",
        effect=Effect(predicate="none", within_s=1.0),
    )  # fmt: skip
    impact = simulate(snapshot, action)
    return facts_for(proposal, impact, snapshot, LedgerView(), incident=None, approved=False)


def spare(*changed: object, **fields: object) -> object:
    return facts(REPLACE, c.snapshot(*changed, **fields))["pool.spare_nodes"]


def test_a_spare_is_a_living_node_open_to_work_that_runs_nothing_and_is_not_the_target() -> None:
    idle = [c.node(f"w{n}", gpus_free=8.0) for n in (1, 2, 3, 4)]
    assert spare(*idle) == 3
    assert spare(*idle[:3], c.node("w4", gpus_free=7.0)) == 2
    assert spare(*idle[:3], c.dead("w4")) == 2
    assert spare(*idle, fences=[c.fence("w3")]) == 2


@pytest.mark.parametrize(
    ("life", "passed", "failed"),
    [("w1-life1", False, True), ("w1-life1", True, False), ("w1-life1", None, False),
     ("w1-life0", False, False)],
    ids=["failed", "passed", "runs", "another incarnation's"],
)  # fmt: skip
def test_a_check_has_failed_when_this_incarnations_did(
    life: str, passed: bool | None, failed: bool
) -> None:
    seen = c.snapshot(checks=[c.check("w1", life, passed)])
    assert facts(REPLACE, seen)["node.check_failed"] is failed


def test_the_age_of_a_step_is_told_and_nothing_is_made_of_one_that_was_never_told() -> None:
    ended = JobPreempt(job="g", attempt_id="g-a1")
    told = c.snapshot(jobs=[c.job("g", step_at=c.ago(240))])
    assert facts(ended, told)["job.step_age"] == 240.0
    assert facts(ended, c.snapshot(jobs=[c.job("g", step_at=None)]))["job.step_age"] == 0.0


def test_s20_repairs_of_the_machine_that_was_replaced_are_not_counted_against_the_new_one() -> None:
    def past(action: str, days: float, incident: str) -> PastEffect:
        return PastEffect(
            action=action, target="node:w1", age_s=days * 86400, node="w1", incident=incident
        )

    resets = (past("gpu.reset", 1, "INC-3"), past("node.drain", 5, "INC-1"))
    assert repairs_of(LedgerView(effects=resets), "w1") == 2
    swapped = (resets[0], past("node.replace", 2, "INC-2"), resets[1])
    assert repairs_of(LedgerView(effects=swapped), "w1") == 2, "the replacement itself counts"
    newest = (past("node.replace", 0.5, "INC-4"), *resets)
    assert repairs_of(LedgerView(effects=newest), "w1") == 1


def test_ray_refuses_to_start_a_gang_from_a_checkpoint_that_it_cannot_choose() -> None:
    actuator = RayActuator.__new__(RayActuator)
    actuator._jobs = object()  # type: ignore[assignment]  # nothing of it is reached
    order = JobRequeue(job="g", attempt_id="g-a1", before=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(EffectFailed, match="Nothing was submitted"):
        actuator._requeue(order)

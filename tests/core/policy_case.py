"""One proposal in a small lab, ready to be judged: real snapshot, real facts, real impact.

Four nodes in two racks, as the lab has them; a test changes what it is about and no more.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from watchkeeper.adapters.policy_files import read_policy_dir
from watchkeeper.core.action import Action, NodeDrain
from watchkeeper.core.cluster import (
    ClusterState,
    Fence,
    Job,
    JobState,
    Node,
    PoolDemand,
    RayState,
    World,
)
from watchkeeper.core.facts import Facts, facts_for
from watchkeeper.core.impact import out_by_domain, simulate
from watchkeeper.core.incident import Incident, IncidentState, Signal, Trust
from watchkeeper.core.ledger import LedgerView, PastEffect
from watchkeeper.core.proposal import Effect, Impact, Proposal
from watchkeeper.core.telemetry import GPU_FIELDS, HOST_FIELDS, FleetFrame, Snapshot, SourceState
from watchkeeper.core.verdict import Autonomy, Orders, Verdict
from watchkeeper.policy.judge import judge
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy

SHIPPED = Path(__file__).parents[2] / "policies"
WEDNESDAY = datetime(2026, 3, 18, tzinfo=ZoneInfo("Europe/Berlin"))
NIGHT = WEDNESDAY.replace(hour=2, minute=30).astimezone(UTC)
DAY = WEDNESDAY.replace(hour=14).astimezone(UTC)
AUTO = Orders(autonomy=Autonomy.AUTO)
DRAIN = NodeDrain(node="train-01", incarnation="inc-1")

HEAD = "apiVersion: watchkeeper/v1\nkind: Policy\nmetadata: {name: t}\n"
PEOPLE = "people: {oncall: [ann, bob], platform: [cid]}\n"


def shipped() -> CheckedPolicy:
    """The standing orders in policies/."""
    return load(read_policy_dir(SHIPPED), NIGHT)


def policy(rules: str, *, rest: str = "", at: datetime = NIGHT) -> CheckedPolicy:
    """A policy of these rules: the YAML below `rules:`, or "" for none."""
    body = f"rules:\n{rules}" if rules else ""
    return load({"policies/t.yaml": HEAD + PEOPLE + rest + body}, at)


def nodes(**changes: dict[str, Any]) -> dict[str, Node]:
    """train-01..04 in racks r1 and r2; `train_01={...}` changes one."""
    made = {}
    for i in range(1, 5):
        name = f"train-{i:02d}"
        node = Node(
            name=name,
            incarnation=f"inc-{i}",
            pool="train",
            ray_state=RayState.ALIVE,
            ray_state_since=NIGHT - timedelta(hours=1),
            gpus=8,
            process_gone=False,
            rack="r1" if i < 3 else "r2",
            nvlink_domain=f"nv-{i}",
        )
        made[name] = msgspec.structs.replace(node, **changes.get(name.replace("-", "_"), {}))
    return made


DEAD = {"ray_state": RayState.DEAD, "process_gone": True}
UNCONFIRMED = {"ray_state": RayState.DEAD, "process_gone": None}
UNKNOWN = {"ray_state": RayState.UNKNOWN, "process_gone": None}


@dataclass(frozen=True)
class Given:
    """What a verdict is asked about. silent_s: telemetry age of the target; sources: how many
    instruments the cited evidence comes from."""

    action: Action = DRAIN
    nodes: dict[str, Node] = field(default_factory=nodes)
    jobs: dict[str, Job] = field(default_factory=dict)
    fenced: tuple[str, ...] = ()
    silent_s: float = 1.0
    sources: int = 2
    confidence: float = 0.9
    approved: bool = False
    by: str = "agent:remediation"
    incident: str = "INC-1"
    pending_gpus: float = 0.0
    world: World = World.LAB
    proposal_world: World = World.LAB
    orders: Orders = AUTO
    ledger: dict[str, Any] = field(default_factory=dict)
    effects: tuple[PastEffect, ...] = ()

    def but(self, **changes: Any) -> Given:
        return replace(self, **changes)

    def inputs(self) -> tuple[Proposal, Impact, Facts, LedgerView]:
        snapshot = self._snapshot()
        signals = tuple(
            Signal(
                id=f"S-{i}",
                code="xid.79",
                target="node:train-01",
                at=NIGHT,
                source=f"source-{i}",
                trust=Trust.KERNEL,
                world=self.world,
            )
            for i in range(self.sources)
        )
        incident = Incident(
            id=self.incident,
            target="node:train-01",
            fault="gpu_off_bus",
            title="t",
            state=IncidentState.OPEN,
            opened_at=NIGHT,
            updated_at=NIGHT,
            world=self.world,
            confidence=self.confidence,
            signals=signals,
        )
        proposal = Proposal(
            id="P-1",
            action=self.action,
            by=self.by,
            reason="because",
            at=NIGHT,
            world=self.proposal_world,
            effect=Effect(predicate="none", within_s=60),
            generation="g",
            confidence=self.confidence,
            incident=self.incident,
            evidence=tuple(s.id for s in signals),
        )
        out, size = out_by_domain(snapshot)
        ledger = LedgerView(**{"effects": self.effects, "out": out, "size": size, **self.ledger})
        impact = simulate(snapshot, self.action)
        facts = facts_for(
            proposal, impact, snapshot, ledger, incident=incident, approved=self.approved
        )
        return proposal, impact, facts, ledger

    def judged(self, policy: CheckedPolicy | None, now: datetime = NIGHT) -> Verdict:
        proposal, impact, facts, ledger = self.inputs()
        return judge(proposal, impact, facts, policy, ledger, self.orders, now)

    def _snapshot(self) -> Snapshot:
        target = str(getattr(self.action, "node", ""))
        names = tuple(self.nodes)
        ages = [self.silent_s if name == target else 1.0 for name in names]
        frame = FleetFrame(
            nodes=names,
            read_at=np.array([NIGHT.timestamp() - age for age in ages]),
            gpu=np.zeros((len(names), 8, len(GPU_FIELDS)), np.float32),
            host=np.zeros((len(names), len(HOST_FIELDS)), np.float32),
            simulated=np.ones(len(names), np.bool_),
            vendor=("simulated",) * len(names),
            row={name: i for i, name in enumerate(names)},
        )
        state = ClusterState(
            session="s",
            cluster="c",
            world=self.world,
            read_at=NIGHT,
            nodes=self.nodes,
            jobs=self.jobs,
            fences={
                name: Fence(name=f"wk-fence-{name}-1", node=name, token=1, held=8, wanted=8)
                for name in self.fenced
            },
            demand=(
                PoolDemand(
                    pool="train",
                    total_gpus=32,
                    running_gpus=8,
                    pending_gpus=self.pending_gpus,
                    waiting_jobs=1,
                ),
            ),
        )
        return Snapshot(
            at=NIGHT,
            steady=1000.0,
            state=state,
            frame=frame,
            sources={"ray": SourceState("ray", 0.0)},
        )


def gang(name: str = "g", *on: str, state: JobState = JobState.RUNNING, **more: Any) -> Job:
    """A gang with a worker on each of these nodes, checkpointed a minute ago."""
    return Job(
        **{
            "name": name,
            "attempt_id": f"{name}-a1",
            "state": state,
            "state_since": NIGHT,
            "pool": "train",
            "gpus": 8.0,
            "nodes": on,
            "checkpoint_at": NIGHT - timedelta(minutes=1),
            **more,
        }
    )


def past(action: str, node: str = "train-03", **more: Any) -> PastEffect:
    """Something that was done a minute ago, for another incident unless said."""
    return PastEffect(
        **{
            "action": action,
            "target": f"node:{node}",
            "age_s": 60.0,
            "node": node,
            "incident": "INC-0",
            "proposal": "P-0",
            "domains": (f"rack:{'r1' if node < 'train-03' else 'r2'}", "pool:train"),
            **more,
        }
    )

"""Nodes, incidents and results to play the crew's stories with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from watchkeeper.core.action import kind_of
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
from watchkeeper.core.crew import Briefing, CrewReply, Draft, PastStep, StepResult
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.incident import (
    Hypothesis,
    HypothesisStatus,
    Incident,
    IncidentState,
    Signal,
    Trust,
)
from watchkeeper.core.telemetry import FleetFrame, Snapshot, SourceState

AT = datetime(2026, 3, 4, 2, 30, tzinfo=UTC)
ALL = frozenset(
    {"node.cordon", "node.uncordon", "node.drain", "node.restart", "check.run", "job.requeue",
     "pool.scale"}
)  # fmt: skip


def node(name: str, state: RayState = RayState.ALIVE, **over: Any) -> Node:
    return Node(
        **{
            "name": name, "incarnation": f"inc-{name}", "pool": "train", "ray_state": state,
            "ray_state_since": AT, "gpus": 8, "gpus_free": 0.0,
            "process_gone": state is RayState.DEAD, **over,
        }
    )  # fmt: skip


def signal(code: str, target: str, source: str, trust: Trust = Trust.RAY) -> Signal:
    return Signal(
        id=f"SIG-{code}-{target}", code=code, target=target, at=AT, source=source, trust=trust,
        world=World.LAB,
    )  # fmt: skip


def lost(name: str, ident: str = "INC-1", **over: Any) -> Incident:
    return Incident(
        **{
            "id": ident, "target": f"node:{name}", "fault": "node_lost",
            "title": f"{name} is lost", "state": IncidentState.OPEN, "opened_at": AT,
            "updated_at": AT, "world": World.LAB, "confidence": 0.95, "node": name,
            "incarnation": f"inc-{name}", "jobs": ("llm",),
            "signals": (
                signal("node.dead", f"node:{name}", "ray"),
                signal("node.process_gone", f"node:{name}", "provider", Trust.PROVIDER),
            ),
            "hypotheses": (
                Hypothesis(claim="the raylet process died", status=HypothesisStatus.SUPPORTED,
                           confidence=0.95, why="two sources"),
                Hypothesis(claim="network partition", status=HypothesisStatus.REFUTED,
                           confidence=0.05, why="the provider sees no process"),
            ),
            **over,
        }
    )  # fmt: skip


def short(ident: str = "INC-9") -> Incident:
    return Incident(
        id=ident, target="pool:train", fault="capacity_short", title="train is too small",
        state=IncidentState.OPEN, opened_at=AT, updated_at=AT, world=World.LAB, confidence=0.9,
        signals=(signal("capacity.short", "pool:train", "ray", Trust.SCHEDULER),),
    )  # fmt: skip


def job(name: str = "llm", **over: Any) -> Job:
    return Job(
        **{
            "name": name, "attempt_id": "a1", "state": JobState.STOPPED, "state_since": AT,
            "pool": "train", "gpus": 8.0, "nodes": ("train-02",), "checkpoint_step": 40,
            "checkpoint_at": AT - timedelta(minutes=4), **over,
        }
    )  # fmt: skip


def snapshot(
    *nodes: Node,
    jobs: tuple[Job, ...] = (),
    fenced: tuple[str, ...] = (),
    demand: tuple[PoolDemand, ...] = (),
    steady: float = 100.0,
) -> Snapshot:
    state = ClusterState(
        session="s", cluster="lab-x", world=World.LAB, read_at=AT,
        nodes={n.name: n for n in nodes}, jobs={j.name: j for j in jobs}, demand=demand,
        fences={
            n: Fence(name=f"wk-fence-{n}-1", node=n, token=1, held=8, wanted=8) for n in fenced
        },
    )  # fmt: skip
    sources = {"ray": SourceState(name="ray", age_s=0.5)}
    return Snapshot(at=AT, steady=steady, state=state, frame=FleetFrame.empty(), sources=sources)


DEAD = snapshot(node("train-01"), node("train-02", RayState.DEAD), jobs=(job(),))


def briefing(
    seen: Snapshot,
    *incidents: Incident,
    results: tuple[StepResult, ...] = (),
    busy: tuple[str, ...] = (),
    serves: frozenset[str] = ALL,
    checked: dict[str, str] | None = None,
    history: dict[str, tuple[StepResult, ...]] | None = None,
    forecasts: dict[str, Forecast] | None = None,
    repaired: dict[str, frozenset[str]] | None = None,
    past: tuple[PastStep, ...] = (),
) -> Briefing:
    return Briefing(
        snapshot=seen, incidents=incidents, forecasts=forecasts or {}, results=results,
        busy=frozenset(busy), serves=serves, checked=checked or {}, history=history or {},
        repaired=repaired or {}, past=past,
    )  # fmt: skip


def told(draft: Draft, kind: str, value: str, ident: str = "P-1", **over: Any) -> StepResult:
    return StepResult(
        thread=draft.thread, proposal=ident, action=draft.action, kind=kind, value=value, **over
    )


def kinds(reply: CrewReply) -> list[str]:
    return [kind_of(d.action) for d in reply.drafts]


def ends(reply: CrewReply) -> dict[str, str]:
    return {c.thread: c.end for c in reply.conclusions}


def many(count: int, state: IncidentState = IncidentState.OPEN) -> tuple[Snapshot, list[Incident]]:
    names = [f"train-{i:02}" for i in range(1, count + 1)]
    seen = snapshot(*(node(n, RayState.DEAD) for n in names))
    return seen, [lost(n, f"INC-{i}", jobs=(), state=state) for i, n in enumerate(names, 1)]


def waits(bundle: float = 8.0, pending: float = 16.0) -> Job:
    return job("big", state=JobState.WAITING, nodes=(), gpus=pending, pending_gpus=pending,
               pending_bundle_gpus=bundle)  # fmt: skip


def want(pending: float = 16.0, *, nowhere: bool = True) -> tuple[PoolDemand, ...]:
    return (
        PoolDemand(pool="train", total_gpus=16, running_gpus=16, pending_gpus=pending,
                   waiting_jobs=1, fits_nowhere=nowhere, blocked_job="big"),
    )  # fmt: skip


FORECAST = Forecast(
    pool="train", made_at=AT, method="persistence", why="short", horizons_s=(3600.0,),
    quantiles=(0.5, 0.9), values=((32.0, 40.0),), history_s=600.0,
)  # fmt: skip
FULL = snapshot(node("train-01"), node("train-02"), jobs=(waits(),), demand=want())

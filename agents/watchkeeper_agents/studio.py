"""The crew's graphs for LangGraph's own tooling (`langgraph.json`): those of a watch, over
one small made-up cluster in which a node has died.

For looking and stepping through. There is no watch behind them: nothing is judged, nothing is
recorded, and nothing could act.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from watchkeeper.core.cluster import ClusterState, Job, JobState, Node, RayState, World
from watchkeeper.core.crew import Briefing
from watchkeeper.core.incident import (
    Hypothesis,
    HypothesisStatus,
    Incident,
    IncidentState,
    Signal,
    Trust,
)
from watchkeeper.core.telemetry import FleetFrame, Snapshot, SourceState
from watchkeeper_agents import crew
from watchkeeper_agents.reasoner import Rules
from watchkeeper_agents.threads import Context, Threads
from watchkeeper_agents.words import CrewSettings

AT = datetime(2026, 3, 4, 2, 30, tzinfo=UTC)
SERVES = frozenset(
    {"node.cordon", "node.uncordon", "node.drain", "node.restart", "check.run", "job.requeue"}
)


def turn() -> Any:
    """One turn of the crew: triage -> threads -> reconcile. Its input is empty."""
    settings, reasoner = CrewSettings(), Rules()
    context = Context(briefing(), settings, reasoner)

    def thread(saver: Any) -> Any:
        return crew.thread_graph(saver, lambda: context)

    threads = Threads(thread, None, settings, reasoner)
    made = crew.turn_graph(threads, settings, lambda: context, plain=True)
    made.name = "watchkeeper turn (simulated)"
    return made


def thread() -> Any:
    """One durable thread, of one incident: it asks for a step, parks, and goes on with what it is
    told. `example_input` is an input for it. The checkpointer is the tool's own."""
    context = Context(briefing(), CrewSettings(), Rules())
    made = crew.thread_graph(None, lambda: context)
    made.name = "watchkeeper thread (simulated)"
    return made


def example_input() -> dict[str, Any]:
    """What begins the thread of the one incident, as plain JSON."""
    item = {"thread": "INC-1", "agent": "remediation", "subject": "node:train-02"}
    return {"item": item, "memory": {}, "result": None}


def briefing() -> Briefing:
    """Three nodes of a simulated cluster; the raylet of one has died, and its gang stands."""
    dead = RayState.DEAD
    nodes = [_node("train-01"), _node("train-02", dead), _node("train-03")]
    gang = Job(
        name="llm", attempt_id="a1", state=JobState.STOPPED, state_since=AT, pool="train",
        gpus=8.0, nodes=("train-02",), checkpoint_step=40, checkpoint_at=AT - timedelta(minutes=4),
    )  # fmt: skip
    state = ClusterState(
        session="s", cluster="studio", world=World.TWIN, read_at=AT,
        nodes={n.name: n for n in nodes}, jobs={gang.name: gang},
    )  # fmt: skip
    return Briefing(
        snapshot=Snapshot(
            at=AT, steady=100.0, state=state, frame=FleetFrame.empty(),
            sources={"ray": SourceState(name="ray", age_s=0.5)},
        ),
        incidents=(_incident(),), forecasts={}, results=(), busy=frozenset(), serves=SERVES,
        checked={},
    )  # fmt: skip


def _node(name: str, state: RayState = RayState.ALIVE) -> Node:
    return Node(
        name=name, incarnation=f"inc-{name}", pool="train", ray_state=state, ray_state_since=AT,
        gpus=8, gpus_free=8.0, process_gone=state is RayState.DEAD,
    )  # fmt: skip


def _incident() -> Incident:
    return Incident(
        id="INC-1", target="node:train-02", fault="node_lost", title="train-02 is lost",
        state=IncidentState.OPEN, opened_at=AT, updated_at=AT, world=World.TWIN, confidence=0.95,
        node="train-02", incarnation="inc-train-02", jobs=("llm",),
        signals=(
            _signal("node.dead", "ray", Trust.RAY),
            _signal("node.process_gone", "provider", Trust.PROVIDER),
        ),
        hypotheses=(
            Hypothesis(claim="the raylet process died", status=HypothesisStatus.SUPPORTED,
                       confidence=0.95, why="two sources"),
        ),
    )  # fmt: skip


def _signal(code: str, source: str, trust: Trust) -> Signal:
    return Signal(
        id=f"SIG-{code}", code=code, target="node:train-02", at=AT, source=source, trust=trust,
        world=World.TWIN,
    )  # fmt: skip

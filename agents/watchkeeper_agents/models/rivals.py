"""Steps that are in each other's way, as a model is told of them: what each takes, what it costs,
and what it costs that the others wait meanwhile. All figures are the engines'. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from watchkeeper.core.action import kind_of, node_of, traits_of
from watchkeeper.core.crew import Draft
from watchkeeper.core.fault import Fault, rank
from watchkeeper.core.impact import EXPECTED_DOWNTIME_S, is_out
from watchkeeper.core.incident import Incident
from watchkeeper.core.word import Word
from watchkeeper_agents.reasoner import Question
from watchkeeper_agents.tools import Tools


class Side(Word, frozen=True):
    """One step of a conflict. target: a name made up here. gravity: of its class of fault, higher
    is graver. priority: the highest of the gangs that it stops. gpu_hours: work and time that the
    step costs. takes_s: assumed. gpus_out: GPUs that serve nobody until it is done."""

    agent: str
    kind: str
    target: str
    fault: str
    gravity: int
    confidence: float
    sources: int
    open_for_s: int
    gangs_stopped: int
    priority: int
    gpus_taken: float
    gpu_hours: float
    takes_s: float
    gpus_out: float


class OrderTold(Word, frozen=True):
    """One order. waiting_gpu_hours: what stands idle of the others while the first is done."""

    id: str
    first: Side
    waits: tuple[Side, ...]
    waiting_gpu_hours: float


def told_orders(question: Question) -> tuple[OrderTold, ...]:
    """The orders of a question of the planner; none of any other."""
    tools = question.tools
    if tools is None or not question.orders:
        return ()
    names = made_up(question)
    found = []
    for option, (first, *waits) in zip(question.options, question.orders, strict=True):
        front = _side(first, tools, names)
        rest = tuple(_side(d, tools, names) for d in waits)
        idle = sum(s.gpus_out for s in rest) * front.takes_s / 3600
        found.append(
            OrderTold(id=option.id, first=front, waits=rest, waiting_gpu_hours=round(idle, 2))
        )
    return tuple(found)


def made_up(question: Question) -> Mapping[str, str]:
    """Nodes of the question -> names that say nothing: `node-1` is the incident's."""
    own = question.incident.node if question.incident is not None else ""
    on = [node_of(d.action) for order in question.orders for d in order]
    nodes = dict.fromkeys(n for n in (own, *on) if n)
    return {name: f"node-{number}" for number, name in enumerate(nodes, 1)}


def incidents_of(question: Question) -> tuple[Incident, ...]:
    """All incidents that the question is about, its own first."""
    assert question.tools is not None
    assert question.incident is not None
    names = dict.fromkeys(d.incident for order in question.orders for d in order)
    found = [i for n in names if (i := question.tools.incident(n)) is not None]
    return (question.incident, *(i for i in found if i.id != question.incident.id))


def _side(draft: Draft, tools: Tools, names: Mapping[str, str]) -> Side:
    action, snapshot = draft.action, tools.snapshot
    impact, kind = tools.impact(action), kind_of(action)
    incident = tools.incident(draft.incident)
    stopped = [snapshot.jobs[name] for name in impact.jobs if name in snapshot.jobs]
    where = names.get(node_of(action), "")
    return Side(
        agent=draft.by.partition(":")[2],
        kind=kind,
        target=where or {"job": "a gang", "pool": "its pool"}.get(traits_of(action).scope, "it"),
        fault=Fault(incident.fault).value if incident is not None else "none",
        gravity=rank(incident.fault) if incident is not None else 0,
        confidence=round(draft.confidence, 2),
        sources=incident.independent_sources if incident is not None else 0,
        open_for_s=0 if incident is None else _age_s(incident, tools),
        gangs_stopped=len(impact.jobs),
        priority=max((job.priority for job in stopped), default=0),
        gpus_taken=round(impact.gpus, 1),
        gpu_hours=round(impact.gpu_hours, 2),
        takes_s=EXPECTED_DOWNTIME_S.get(kind, draft.effect.within_s),
        gpus_out=_out(draft, incident, tools),
    )


def _age_s(incident: Incident, tools: Tools) -> int:
    return round((tools.snapshot.at - incident.opened_at).total_seconds() / 10) * 10


def _out(draft: Draft, incident: Incident | None, tools: Tools) -> float:
    """GPUs that nobody can use until this is done: of a node that is out; those waited for."""
    snapshot = tools.snapshot
    node = snapshot.nodes.get(node_of(draft.action) or (incident.node if incident else ""))
    if node is not None:
        return float(node.gpus) if is_out(snapshot, node) else 0.0
    job = snapshot.jobs.get(str(getattr(draft.action, "job", "")))
    if incident is not None and incident.fault == Fault.CAPACITY_SHORT:
        demand = tools.demand(incident.target.partition(":")[2])
        return 0.0 if demand is None else round(demand.pending_gpus, 1)
    return 0.0 if job is None else round(job.gpus, 1)

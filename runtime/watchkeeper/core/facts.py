"""The closed set of declared facts that a policy condition may use, and how they are filled in.

Conditions are type-checked against `FACTS` when a policy is loaded; `facts_for` is the only
place where values are put to those names. What a tenant can write is under `tenant.`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from watchkeeper.core.action import (
    KINDS,
    REPAIRS,
    Action,
    JobPlace,
    JobPreempt,
    PoolReserve,
    kind_of,
    node_of,
    traits_of,
)
from watchkeeper.core.cluster import Job, JobState, Node, RayState, World
from watchkeeper.core.fault import Fault
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.incident import ATTACKER_WRITABLE, LABELS, Incident, instruments, lowest
from watchkeeper.core.ledger import WEEK_S, LedgerView
from watchkeeper.core.once import once_for
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.word import Word

FactValue: TypeAlias = bool | int | float | str | dict[str, str] | list[str]
Facts: TypeAlias = dict[str, FactValue]
"""Dotted name to value. Durations are float seconds. Every name declared for the action's scope
is present: a fact that is not known has the value its declaration gives for Unknown."""


class Fact(Word, frozen=True):
    """One declared fact. type: `bool`, `int`, `double`, `string`, `duration`, `map`, `list`; maps
    and lists hold texts.

    scopes: the action scopes that have it (`node`, `gpu`, `job`, `pool`, `watch`).
    unknown: what stands for Unknown, always the value that lets least happen. values: every text
    that it can be beside `unknown`, where that is a closed set; () where it is not.
    """

    type: str
    scopes: tuple[str, ...]
    says: str
    unknown: FactValue
    values: tuple[str, ...] = ()


_ALL = ("node", "gpu", "job", "pool", "watch")
_NODE = ("node", "gpu")
MOST_METADATA, MOST_TEXT = 24, 200
"""Entries of a job's metadata that are facts, and characters of each."""

NEVER_S = 10.0 * 365 * 86400
"""Ten years: stands for the age of what never was, so that every `< 15m` is false."""

FACTS: dict[str, Fact] = {
    "action.kind": Fact(
        type="string", scopes=_ALL, says="such as node.drain", unknown="", values=tuple(KINDS)
    ),
    "action.disruptive": Fact(
        type="bool", scopes=_ALL, says="it can take work or capacity away", unknown=True
    ),
    "action.recovers": Fact(
        type="bool", scopes=_ALL, says="it gives work or capacity back", unknown=False
    ),
    "world": Fact(
        type="string",
        scopes=_ALL,
        says="real, lab or twin",
        unknown="",
        values=tuple(w.value for w in World),
    ),
    "proposal.by": Fact(
        type="string",
        scopes=_ALL,
        says="agent:remediation, agent:scheduler, person:NAME",
        unknown="",
    ),
    "proposal.confidence": Fact(
        type="double", scopes=_ALL, says="0 to 1, the proposer's own", unknown=0.0
    ),
    "proposal.model": Fact(
        type="string",
        scopes=_ALL,
        says="the model that chose it, or let it go first; empty where rules did",
        unknown="unknown",
    ),
    "incident.class": Fact(
        type="string",
        scopes=_ALL,
        says="class of fault, such as node_lost",
        unknown="",
        values=tuple(f.value for f in Fault),
    ),
    "incident.confidence": Fact(
        type="double", scopes=_ALL, says="0 to 1, from evidence", unknown=0.0
    ),
    "incident.approved": Fact(
        type="bool",
        scopes=_ALL,
        unknown=False,
        says="a person approved this repair within the last hour, was shown this step, and the "
        "impact is within what they were shown",
    ),
    "incident.attempts": Fact(
        type="int", scopes=_ALL, says="effects already started for this incident", unknown=1_000_000
    ),
    "evidence.independent_sources": Fact(
        type="int", scopes=_ALL, says="different instruments, tenants' words not counted", unknown=0
    ),
    "evidence.age": Fact(
        type="duration", scopes=_ALL, says="age of the newest evidence", unknown=NEVER_S
    ),
    "evidence.label": Fact(
        type="string",
        scopes=_ALL,
        says="the least trusted of the sources that it rests on; tenants' words carry nothing",
        unknown="",
        values=tuple(t.value for t in LABELS if t not in ATTACKER_WRITABLE),
    ),
    "impact.jobs": Fact(type="int", scopes=_ALL, says="running gangs it stops", unknown=1_000_000),
    "impact.gpus": Fact(type="double", scopes=_ALL, says="GPUs taken away", unknown=1e9),
    "impact.gpu_hours": Fact(type="double", scopes=_ALL, says="work lost, GPU-hours", unknown=1e9),
    "impact.checkpoint_age": Fact(
        type="duration",
        scopes=_ALL,
        unknown=NEVER_S,
        says="oldest checkpoint among the gangs it stops; 0s when it stops none",
    ),
    "impact.tenants": Fact(
        type="list", scopes=_ALL, unknown=[""], says="tenants of the gangs it stops"
    ),
    "impact.priority": Fact(
        type="int", scopes=_ALL, unknown=1_000_000, says="highest priority among the gangs it stops"
    ),
    "impact.money": Fact(
        type="double",
        scopes=_ALL,
        unknown=1e9,
        says="what that costs at the policy's prices; nodes added count for their first day",
    ),
    "pool.power_kw": Fact(
        type="double",
        scopes=("node", "gpu", "job", "pool"),
        unknown=1e9,
        says="power of its GPUs now, kW; unknown while a GPU of it is silent",
    ),
    "pool.name": Fact(type="string", scopes=("node", "gpu", "job", "pool"), says="", unknown=""),
    "pool.size": Fact(
        type="int", scopes=("node", "gpu", "job", "pool"), says="nodes in the pool", unknown=0
    ),
    "pool.out": Fact(
        type="int",
        scopes=("node", "gpu", "job", "pool"),
        says="nodes of it out now",
        unknown=1_000_000,
    ),
    "pool.pending_gpus": Fact(
        type="double", scopes=("job", "pool"), says="GPUs asked for and not given", unknown=0.0
    ),
    "pool.spare_nodes": Fact(
        type="int",
        scopes=("node", "gpu", "job", "pool"),
        unknown=0,
        says="living nodes of it, open to work, that run nothing now; the target is not counted",
    ),
    "node.name": Fact(type="string", scopes=_NODE, says="stable name", unknown=""),
    "node.pool": Fact(type="string", scopes=_NODE, says="", unknown=""),
    "node.rack": Fact(type="string", scopes=_NODE, says="", unknown=""),
    "node.leaf": Fact(type="string", scopes=_NODE, says="leaf switch", unknown=""),
    "node.power_feed": Fact(type="string", scopes=_NODE, says="", unknown=""),
    "node.zone": Fact(type="string", scopes=_NODE, says="", unknown=""),
    "node.nvlink_domain": Fact(type="string", scopes=_NODE, says="", unknown=""),
    "node.ray_state": Fact(
        type="string",
        scopes=_NODE,
        says="alive, draining, dead or unknown",
        unknown="unknown",
        values=tuple(s.value for s in RayState),
    ),
    "node.process_gone": Fact(
        type="bool",
        scopes=_NODE,
        unknown=False,
        says="the provider confirms that the raylet's process is gone",
    ),
    "node.control_path": Fact(
        type="bool", scopes=_NODE, says="it carries the Ray head or the watch", unknown=True
    ),
    "node.fenced": Fact(
        type="bool", scopes=_NODE, says="our fence holds every GPU of it", unknown=False
    ),
    "node.check_failed": Fact(
        type="bool",
        scopes=_NODE,
        unknown=False,
        says="our own check of this incarnation, a real workload, failed",
    ),
    "node.gpus": Fact(type="int", scopes=_NODE, says="", unknown=0),
    "node.silent_for": Fact(
        type="duration", scopes=_NODE, says="since its last telemetry", unknown=NEVER_S
    ),
    "node.repairs_7d": Fact(
        type="int", scopes=_NODE, says="disruptive effects on it in 7 days", unknown=1_000_000
    ),
    "node.labels": Fact(
        type="map", scopes=_NODE, says="labels set by the operator's inventory", unknown={}
    ),
    "gpu.index": Fact(type="int", scopes=("gpu",), says="", unknown=-1),
    "job.name": Fact(type="string", scopes=("job",), says="", unknown=""),
    "job.gpus": Fact(type="double", scopes=("job",), says="GPUs of the whole gang", unknown=1e9),
    "job.priority": Fact(type="int", scopes=("job",), says="", unknown=1_000_000),
    "job.checkpoint_age": Fact(
        type="duration", scopes=("job",), says="since its last checkpoint", unknown=NEVER_S
    ),
    "job.step_age": Fact(
        type="duration",
        scopes=("job",),
        unknown=0.0,
        says="since its last step, by its own word; 0s where it tells of no steps",
    ),
    "job.requeues_24h": Fact(
        type="int", scopes=("job",), says="requeues of it in 24 hours", unknown=1_000_000
    ),
    "job.waited": Fact(
        type="duration",
        scopes=("job",),
        unknown=0.0,
        says="since when it waits; 0s for a gang that does not wait",
    ),
    "preempt.for_priority": Fact(
        type="int",
        scopes=("job",),
        unknown=-1_000_000,
        says="priority of the waiting gang that room would be made for",
    ),
    "preempt.for_gpus": Fact(
        type="double", scopes=("job",), unknown=0.0, says="GPUs that this gang waits for"
    ),
    "tenant.name": Fact(
        type="string", scopes=("job",), says="as the job's own metadata claims", unknown=""
    ),
    "tenant.metadata": Fact(type="map", scopes=("job",), says="the job's own metadata", unknown={}),
    "place.zones": Fact(
        type="list", scopes=("job",), unknown=[""], says="zones of the nodes it would be placed on"
    ),
    "place.tenants": Fact(
        type="list", scopes=("job",), unknown=[""], says="tenants with gangs on those nodes now"
    ),
    "reserve.nodes": Fact(
        type="int", scopes=("pool",), says="nodes to be kept by `pool.reserve`", unknown=1_000_000
    ),
    "reserve.for": Fact(
        type="duration", scopes=("pool",), says="how long they are to be kept", unknown=NEVER_S
    ),
    "scale.gpus": Fact(type="int", scopes=("pool",), says="GPUs it adds", unknown=1_000_000),
    "scale.add": Fact(type="int", scopes=("pool",), says="nodes to add", unknown=1_000_000),
    "forecast.method": Fact(type="string", scopes=("pool",), says="", unknown=""),
    "forecast.p50_1h": Fact(
        type="double", scopes=("pool",), says="GPUs wanted in an hour, median", unknown=0.0
    ),
    "forecast.p90_1h": Fact(
        type="double", scopes=("pool",), says="GPUs wanted in an hour, 90 %", unknown=0.0
    ),
    "forecast.score": Fact(
        type="double",
        scopes=("pool",),
        unknown=1e9,
        says="its loss in the backtest over that of persistence; below 1 it is better",
    ),
    "forecast.coverage80": Fact(
        type="double",
        scopes=("pool",),
        unknown=0.0,
        says="how often its 80 % interval held in the backtest, 0 to 1",
    ),
    "forecast.origins": Fact(
        type="int",
        scopes=("pool",),
        unknown=0,
        says="moments of the past over which that was measured",
    ),
    "forecast.drifted": Fact(
        type="bool",
        scopes=("pool",),
        unknown=True,
        says="it was wrong of late by more than its backtest explains",
    ),
    "forecast.made_over": Fact(
        type="int",
        scopes=("pool",),
        unknown=0,
        says="forecasts made here before, in shadow or not, whose hours have come",
    ),
    "forecast.made_score": Fact(
        type="double",
        scopes=("pool",),
        unknown=1e9,
        says="the loss of those over that of persistence",
    ),
    "forecast.made_coverage80": Fact(
        type="double", scopes=("pool",), unknown=0.0, says="how often their 80 % interval held"
    ),
}


def declared_for(kind_scopes: tuple[str, ...]) -> dict[str, Fact]:
    """The facts that actions of all these scopes have."""
    return {n: f for n, f in FACTS.items() if all(s in f.scopes for s in kind_scopes)}


def facts_for(
    proposal: Proposal,
    impact: Impact,
    snapshot: Snapshot,
    ledger: LedgerView,
    *,
    incident: Incident | None,
    approved: bool,
    forecast: Forecast | None = None,
) -> Facts:
    """Every fact declared for the action's scope, from this snapshot; Unknown where not known."""
    action = proposal.action
    scope = traits_of(action).scope
    known: Facts = {
        **_of_proposal(proposal, impact, snapshot, ledger, incident, approved),
        **_of_pool(action, impact, snapshot, ledger, forecast),
    }
    node = snapshot.nodes.get(node_of(action))
    if node is not None:
        known |= _of_node(node, action, snapshot, ledger)
    job = snapshot.jobs.get(str(getattr(action, "job", "")))
    if job is not None:
        known |= _of_job(job, snapshot, ledger)
    if isinstance(action, JobPlace):
        known |= _of_place(action, snapshot)
    if isinstance(action, JobPreempt):
        known |= _of_preempt(action, snapshot)
    return {n: known.get(n, f.unknown) for n, f in FACTS.items() if scope in f.scopes}


def _of_proposal(
    proposal: Proposal,
    impact: Impact,
    snapshot: Snapshot,
    ledger: LedgerView,
    incident: Incident | None,
    approved: bool,
) -> Facts:
    traits = traits_of(proposal.action)
    facts: Facts = {
        "action.kind": kind_of(proposal.action),
        "action.disruptive": traits.disruptive,
        "action.recovers": traits.recovers,
        "world": snapshot.world.value,
        "proposal.by": proposal.by,
        "proposal.confidence": proposal.confidence,
        "proposal.model": proposal.chosen.model if proposal.chosen is not None else "",
        "incident.approved": approved,
        "incident.attempts": 0,
        "impact.jobs": len(impact.jobs),
        "impact.gpus": impact.gpus,
        "impact.gpu_hours": impact.gpu_hours,
    }
    if impact.money is not None:
        facts["impact.money"] = impact.money
    stopped = [snapshot.jobs[name] for name in impact.jobs if name in snapshot.jobs]
    if len(stopped) == len(impact.jobs):
        facts["impact.tenants"] = sorted({job.tenant for job in stopped})
        facts["impact.priority"] = max((job.priority for job in stopped), default=0)
    if not impact.jobs:
        facts["impact.checkpoint_age"] = 0.0
    elif impact.checkpoint_age_s is not None:
        facts["impact.checkpoint_age"] = impact.checkpoint_age_s
    if incident is not None:
        # Only what the proposal cites counts as its evidence, and a tenant's word never does.
        cited = [
            s
            for s in incident.signals
            if s.id in proposal.evidence and s.trust not in ATTACKER_WRITABLE
        ]
        facts["incident.class"] = incident.fault
        facts["incident.confidence"] = incident.confidence
        facts["incident.attempts"] = sum(e.incident == incident.id for e in ledger.effects)
        facts["evidence.independent_sources"] = instruments(cited)
        facts["evidence.label"] = lowest(s.trust for s in cited)
        if cited:
            newest = max(s.at for s in cited)
            facts["evidence.age"] = max(0.0, (snapshot.at - newest).total_seconds())
    return facts


def _of_node(node: Node, action: Action, snapshot: Snapshot, ledger: LedgerView) -> Facts:
    fence = snapshot.fences.get(node.name)
    silence = snapshot.silence_s(node.name)
    facts: Facts = {
        "node.name": node.name,
        "node.pool": node.pool,
        "node.rack": node.rack,
        "node.leaf": node.leaf,
        "node.power_feed": node.power_feed,
        "node.zone": node.zone,
        "node.nvlink_domain": node.nvlink_domain,
        "node.ray_state": node.ray_state.value,
        "node.process_gone": node.process_gone is True,
        "node.control_path": node.control_path,
        "node.fenced": fence is not None and fence.sealed,
        "node.check_failed": _check_failed(node, snapshot),
        "node.gpus": node.gpus,
        "node.repairs_7d": repairs_of(ledger, node.name),
        "node.labels": _without_nulls(node.labels),
    }
    if silence is not None:
        facts["node.silent_for"] = silence
    gpu = getattr(action, "gpu", None)
    if gpu is not None:
        facts["gpu.index"] = gpu
    return facts


def _check_failed(node: Node, snapshot: Snapshot) -> bool:
    result = snapshot.state.checks.get(node.name)
    return result is not None and result.incarnation == node.incarnation and result.passed is False


def _of_job(job: Job, snapshot: Snapshot, ledger: LedgerView) -> Facts:
    day = 86400.0
    facts: Facts = {
        "job.name": job.name,
        "job.gpus": job.gpus,
        "job.priority": job.priority,
        "job.requeues_24h": sum(
            e.action == "job.requeue" and e.target == f"job:{job.name}" and e.age_s <= day
            for e in ledger.effects
        ),
        "tenant.name": job.tenant[:MOST_TEXT].replace("\0", ""),
        "tenant.metadata": _capped(job.metadata),
    }
    if job.step_at is not None:
        facts["job.step_age"] = max(0.0, (snapshot.at - job.step_at).total_seconds())
    if job.state is JobState.WAITING:
        facts["job.waited"] = max(0.0, (snapshot.at - job.state_since).total_seconds())
    if job.checkpoint_at is not None:
        facts["job.checkpoint_age"] = max(0.0, (snapshot.at - job.checkpoint_at).total_seconds())
    return facts


def _of_place(action: JobPlace, snapshot: Snapshot) -> Facts:
    """Where a gang would be placed; unknown as long as one of its nodes is."""
    nodes = [snapshot.nodes.get(name) for name in action.nodes]
    if any(node is None for node in nodes):
        return {}
    beside = {j.tenant for n in action.nodes for j in snapshot.jobs_on(n) if j.name != action.job}
    return {
        "place.zones": sorted({node.zone for node in nodes if node is not None}),
        "place.tenants": sorted(beside),
    }


def _of_preempt(action: JobPreempt, snapshot: Snapshot) -> Facts:
    """For whom room is made, as long as that gang waits."""
    waiting = snapshot.jobs.get(action.for_job)
    if waiting is None or waiting.state is not JobState.WAITING:
        return {}
    return {
        "preempt.for_priority": waiting.priority,
        "preempt.for_gpus": waiting.pending_gpus or waiting.gpus,
    }


def _without_nulls(texts: dict[str, str]) -> dict[str, str]:
    """A null character would leave the whole map unread, and every rule on it undecided."""
    if not any("\0" in k or "\0" in v for k, v in texts.items()):
        return texts
    return {k.replace("\0", ""): v.replace("\0", "") for k, v in texts.items()}


def _capped(metadata: dict[str, str]) -> dict[str, str]:
    """A tenant writes as much as they like; a verdict and its journal line take this much."""
    first = sorted(metadata.items())[:MOST_METADATA]
    return _without_nulls({key[:MOST_TEXT]: value[:MOST_TEXT] for key, value in first})


def _of_pool(
    action: Action,
    impact: Impact,
    snapshot: Snapshot,
    ledger: LedgerView,
    forecast: Forecast | None,
) -> Facts:
    pool = str(getattr(action, "pool", "")) or impact.pool
    if not pool:
        return {}
    facts: Facts = {
        "pool.name": pool,
        "pool.pending_gpus": sum(d.pending_gpus for d in snapshot.state.demand if d.pool == pool),
    }
    size = ledger.size.get(f"pool:{pool}")
    if size is not None:  # else nobody knows the pool, and none of it is known to be in service
        facts["pool.size"] = size
        facts["pool.out"] = ledger.out.get(f"pool:{pool}", 0)
    spare = spare_nodes(snapshot).get(pool, frozenset())
    facts["pool.spare_nodes"] = len(spare - {node_of(action)})
    power_w = snapshot.power_w(pool)
    if power_w is not None:
        facts["pool.power_kw"] = round(power_w / 1000, 3)
    add = getattr(action, "add", None)
    if add is not None:
        facts["scale.add"] = add
        if each := gpus_per_node(snapshot, pool):
            facts["scale.gpus"] = add * each
    if isinstance(action, PoolReserve):
        facts["reserve.nodes"] = action.nodes
        if action.begin is not None and action.until is not None:
            facts["reserve.for"] = (action.until - action.begin).total_seconds()
    if forecast is not None:
        facts["forecast.method"] = forecast.method
        for name, level in (("forecast.p50_1h", 0.5), ("forecast.p90_1h", 0.9)):
            value = quantile_at(forecast, 3600.0, level)
            if value is not None:
                facts[name] = value
        if forecast.score is not None:
            facts["forecast.score"] = forecast.score
        if forecast.coverage80 is not None:
            facts["forecast.coverage80"] = forecast.coverage80
            facts["forecast.origins"] = forecast.origins
            facts["forecast.drifted"] = forecast.drifted
        if forecast.made_score is not None and forecast.made_coverage80 is not None:
            facts["forecast.made_over"] = forecast.made_over
            facts["forecast.made_score"] = forecast.made_score
            facts["forecast.made_coverage80"] = forecast.made_coverage80
    return facts


@lru_cache(maxsize=2)
def spare_nodes(snapshot: Snapshot) -> dict[str, frozenset[str]]:
    """Pool -> its nodes that work can begin on at once: alive, unfenced, every GPU free. Once for
    each snapshot, since every verdict asks."""
    fences = snapshot.fences
    found: dict[str, list[str]] = {}
    for node in _idle(snapshot.nodes):
        if node.name not in fences:
            found.setdefault(node.pool, []).append(node.name)
    return {pool: frozenset(names) for pool, names in found.items()}


@once_for
def _idle(nodes: dict[str, Node]) -> list[Node]:
    alive = RayState.ALIVE
    return [
        node
        for node in nodes.values()
        if 0 < node.gpus <= node.gpus_free and node.ray_state is alive and not node.control_path
    ]


def gpus_per_node(snapshot: Snapshot, pool: str) -> int:
    """GPUs of a node of this pool: the most that one has, so that a cost is not told too low."""
    return max((n.gpus for n in snapshot.nodes.values() if n.pool == pool), default=0)


def repairs_of(ledger: LedgerView, node: str) -> int:
    """Repairs of a node in the ledger's 7 days: incidents that took it out, each counted once.
    Those before its last replacement were of another machine and are not counted."""
    of_it = [e for e in ledger.effects if e.node == node and e.age_s < WEEK_S]
    new = min((e.age_s for e in of_it if e.action == "node.replace" and not e.open), default=WEEK_S)
    hits = [e for e in of_it if e.action in REPAIRS and e.age_s <= new]
    return len({e.incident or e.proposal for e in hits})


def quantile_at(forecast: Forecast, horizon_s: float, level: float) -> float | None:
    """The forecast at exactly this horizon and quantile, or None when it does not say."""
    if horizon_s not in forecast.horizons_s or level not in forecast.quantiles:
        return None
    row = forecast.values[forecast.horizons_s.index(horizon_s)]
    return row[forecast.quantiles.index(level)]


SERVICE_LEVEL = 0.9
"""The quantile of demand that a pool should hold, where policy says no other."""


def level_for(forecast: Forecast, wanted: float) -> float | None:
    """The lowest quantile of a forecast that is at least this; its highest where none is; None
    where it says nothing."""
    levels = sorted(forecast.quantiles)
    if not levels or not forecast.horizons_s:
        return None
    return next((level for level in levels if level >= wanted - 1e-9), levels[-1])

"""What would an Action touch? Snapshot + Action -> Impact, and the generation it was asked in."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter, is_
from typing import TypeAlias

from watchkeeper.core.action import (
    Action,
    GpuPowerCap,
    GpuQuarantine,
    GpuReset,
    JobPlace,
    JobPreempt,
    JobRequeue,
    NodeCordon,
    NodeUncordon,
    PoolReserve,
    PoolScale,
    kind_of,
    node_of,
)
from watchkeeper.core.cluster import DOMAIN_KINDS, Job, JobState, Node, RayState
from watchkeeper.core.proposal import Impact
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.word import canonical

EXPECTED_DOWNTIME_S = {
    "node.cordon": 120.0,
    "node.drain": 120.0,
    "node.restart": 60.0,
    "node.reboot": 540.0,
    "node.replace": 1800.0,
}
"""Assumed time a node is out, by action, until the ledger has measured its own (assumption)."""


def is_out(snapshot: Snapshot, node: Node) -> bool:
    """Not in service: dead, draining, unknown, or behind our fence."""
    return node.ray_state is not RayState.ALIVE or node.name in snapshot.fences


_Counts: TypeAlias = tuple[dict[str, int], dict[str, int]]
_COUNTED: deque[tuple[list[Node], frozenset[str], _Counts]] = deque(maxlen=2)


@lru_cache(maxsize=2)
def out_by_domain(snapshot: Snapshot) -> tuple[dict[str, int], dict[str, int]]:
    """Nodes out, and nodes at all, by domain key: `fleet`, `pool:x`, `rack:y`, `leaf:z`, ...

    The control path (the head node) is not a worker and counts in neither. Kept for the snapshot
    of this turn (and the one right before an effect), since each verdict asks again.
    """
    nodes, fences = snapshot.nodes, frozenset(snapshot.fences)
    # Most turns see the very same nodes again. A copy, since doors count beside the turn.
    for known, fenced, counts in tuple(_COUNTED):
        if fenced == fences and len(known) == len(nodes) and all(map(is_, known, nodes.values())):
            return counts
    gone = {node.name: node for node in snapshot.not_alive}
    gone.update((name, nodes[name]) for name in snapshot.fences if name in nodes)
    out = _by_domain([node for node in gone.values() if not node.control_path])
    words = list(nodes.values())
    found = out, _sizes(words)
    _COUNTED.append((words, fences, found))
    return found


def _sizes(nodes: list[Node]) -> dict[str, int]:
    """Workers by domain key. The last count stands while every node stays where it was."""
    for known, _, (_, size) in tuple(_COUNTED):
        if len(known) == len(nodes) and all(map(_same_place, known, nodes)):
            return size
    return _by_domain([node for node in nodes if not node.control_path])


def _same_place(one: Node, other: Node) -> bool:
    return one is other or _PLACE(one) == _PLACE(other)


_PLACE = attrgetter("name", "control_path", *DOMAIN_KINDS)
_DOMAINS = tuple((kind, attrgetter(kind)) for kind in DOMAIN_KINDS)


def _by_domain(nodes: Sequence[Node]) -> dict[str, int]:
    """How many of these nodes each domain key has. Counted by kind, since a fleet is large."""
    found = {"fleet": len(nodes)} if nodes else {}
    for kind, name_of in _DOMAINS:
        counts = Counter(map(name_of, nodes))
        counts.pop("", None)
        found.update({f"{kind}:{name}": count for name, count in counts.items()})
    return found


def simulate(snapshot: Snapshot, action: Action) -> Impact:
    """The blast radius of one action on this snapshot. Unknown targets touch nothing here; the
    invariants refuse them."""
    match action:
        case JobRequeue() | JobPreempt():
            return _of_job(snapshot, action)
        case JobPlace():
            return _of_place(snapshot, action)
        case PoolScale() | PoolReserve():
            size = sum(1 for n in snapshot.nodes.values() if n.pool == action.pool)
            return Impact(pool=action.pool, pool_size=size)
    node = snapshot.nodes.get(node_of(action))
    if node is None:
        return Impact()
    return _of_node(snapshot, action, node)


def _of_job(snapshot: Snapshot, action: JobRequeue | JobPreempt) -> Impact:
    job = snapshot.jobs.get(action.job)
    if job is None:
        return Impact()
    if not isinstance(action, JobPreempt) or job.state is not JobState.RUNNING:
        return Impact(pool=job.pool)
    unsaved_s = _unsaved_s(snapshot, job)
    return Impact(
        jobs=(job.name,),
        tenants=(job.tenant,) if job.tenant else (),
        gpus=job.gpus,
        gpu_hours=round(unsaved_s / 3600 * job.gpus, 3),
        pool=job.pool,
        checkpoint_age_s=unsaved_s if job.checkpoint_at is not None else None,
    )


def started_gpus(steps: Sequence[Action], snapshot: Snapshot) -> float:
    """GPUs that the gangs hold which these steps start; a gang that is not known counts none."""
    names = {a.job for a in steps if isinstance(a, JobRequeue | JobPlace)}
    return sum(snapshot.jobs[name].gpus for name in names if name in snapshot.jobs)


def _of_place(snapshot: Snapshot, action: JobPlace) -> Impact:
    """It stops nothing and takes nothing out: it fills nodes that exist with the gang itself."""
    job = snapshot.jobs.get(action.job)
    return Impact(
        nodes=tuple(name for name in action.nodes if name in snapshot.nodes),
        pool=job.pool if job is not None else "",
    )


def _of_node(snapshot: Snapshot, action: Action, node: Node) -> Impact:
    kind = kind_of(action)
    running = tuple(j for j in snapshot.jobs_on(node.name) if j.state is JobState.RUNNING)
    harmless = isinstance(action, NodeUncordon | GpuPowerCap) or kind == "check.run"
    stops = () if harmless or isinstance(action, NodeCordon) else running
    ages = [_unsaved_s(snapshot, job) for job in stops]
    known = all(job.checkpoint_at is not None for job in stops)
    out, size = out_by_domain(snapshot)
    already = is_out(snapshot, node) and not node.control_path  # which counts in neither
    gpus = _gpus_taken(action, node, harmless=harmless)
    lost_h = sum(age / 3600 * job.gpus for age, job in zip(ages, stops, strict=True))
    down_h = EXPECTED_DOWNTIME_S.get(kind, 0.0) / 3600 * gpus
    domains = [f"{k}:{v}" for k, v in node.domains().items()]
    pool_key = f"pool:{node.pool}"
    pool_out = out.get(pool_key, 0)
    leaves = not harmless and not isinstance(action, GpuQuarantine | GpuReset)
    return Impact(
        jobs=tuple(job.name for job in stops),
        tenants=tuple(sorted({job.tenant for job in stops if job.tenant})),
        nodes=(node.name,),
        gpus=gpus,
        gpu_hours=round(lost_h + down_h, 3),
        pool=node.pool,
        pool_size=size.get(pool_key, 0),
        pool_out_before=pool_out,
        pool_out_after=pool_out + (1 if leaves and not already else 0),
        domain_out={d: out.get(d, 0) - (1 if already else 0) for d in ["fleet", *domains]},
        domain_size={d: size.get(d, 0) for d in ["fleet", *domains]},
        checkpoint_age_s=max(ages) if ages and known else None,
    )


def _unsaved_s(snapshot: Snapshot, job: Job) -> float:
    """Seconds of work that stopping this gang loses: since its checkpoint, or else all of it."""
    since = job.checkpoint_at or job.state_since
    return max(0.0, (snapshot.at - since).total_seconds())


def _gpus_taken(action: Action, node: Node, *, harmless: bool) -> float:
    if harmless:
        return 0.0
    if isinstance(action, GpuQuarantine | GpuReset):
        return 1.0
    return float(node.gpus)


NEAR = ("rack", "leaf", "power_feed", "nvlink_domain")
"""Domains small enough that a node going out beside the target bears on what was decided. A pool,
a zone and the fleet change all night in a large cluster: what they allow (S2, the limits, the bound
that a person was shown) is judged afresh right before the effect."""


def generation(snapshot: Snapshot, action: Action, policy_version: str) -> str:
    """A hash of what the decision rests on and what may drift: the session, the targets'
    incarnations, the jobs on them, the out-count of their small domains (`NEAR`; the target itself
    aside, so that our own cordon does not void what it prepares), and the policy version (S5)."""
    node = snapshot.nodes.get(node_of(action))
    job_name = str(getattr(action, "job", ""))
    job = snapshot.jobs.get(job_name)
    impact = simulate(snapshot, action)
    drift = {
        "session": snapshot.state.session,
        "incarnation": node.incarnation if node else "",
        "jobs": sorted(f"{j.name}/{j.attempt_id}" for j in snapshot.jobs_on(node.name))
        if node
        else [],
        "attempt": job.attempt_id if job else "",
        **_seats(snapshot, action),
        "out": {k: n for k, n in impact.domain_out.items() if k.partition(":")[0] in NEAR},
        "policy": policy_version,
    }
    return hashlib.sha256(canonical(drift)).hexdigest()[:16]


def _seats(snapshot: Snapshot, action: Action) -> dict[str, list[str]]:
    """The incarnations that a gang was to be placed on; nothing for any other action."""
    if not isinstance(action, JobPlace):
        return {}
    nodes = [snapshot.nodes.get(name) for name in action.nodes]
    return {"seats": [node.incarnation if node else "" for node in nodes]}

"""Would it fit, what would make it fit, and why does it wait? Gangs against free GPUs.

Asked by the scheduler agent and by the pages. First version: it answers on GPUs alone and moves
nothing; which node a gang then gets is Ray's choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

from watchkeeper.core.cluster import Job, JobState, Node, RayState
from watchkeeper.core.telemetry import Snapshot


class Strategy(StrEnum):
    """How a gang's bundles may lie, in Ray's words."""

    PACK = "PACK"
    SPREAD = "SPREAD"
    STRICT_PACK = "STRICT_PACK"
    STRICT_SPREAD = "STRICT_SPREAD"


def slots(bundle_gpus: float, free: float) -> int:
    """How many bundles of this size the free GPUs of one node hold."""
    if bundle_gpus <= 0:
        return 1
    return int(free / bundle_gpus + 1e-9)


def fits(bundle_gpus: float, free: Sequence[float], strategy: Strategy, count: int) -> bool:
    """Whether `count` bundles of `bundle_gpus` find room now. free: GPUs free on each node."""
    if count <= 0:
        return True
    match strategy:
        case Strategy.STRICT_PACK:
            return any(slots(bundle_gpus, f) >= count for f in free)
        case Strategy.STRICT_SPREAD:
            return sum(slots(bundle_gpus, f) >= 1 for f in free) >= count
        case Strategy.PACK | Strategy.SPREAD:
            return sum(slots(bundle_gpus, f) for f in free) >= count


def nodes_needed(
    bundle_gpus: float, free: Sequence[float], strategy: Strategy, count: int, node_gpus: float
) -> int | None:
    """Nodes of `node_gpus` to add before the gang fits: 0 when it fits now, None when no number
    of such nodes would help, because one bundle (or a strictly packed gang) is larger than one."""
    if fits(bundle_gpus, free, strategy, count):
        return 0
    per_node = slots(bundle_gpus, node_gpus)
    match strategy:
        case Strategy.STRICT_PACK:
            return 1 if per_node >= count else None
        case Strategy.STRICT_SPREAD:
            missing = count - sum(slots(bundle_gpus, f) >= 1 for f in free)
            return missing if per_node >= 1 else None
        case Strategy.PACK | Strategy.SPREAD:
            missing = count - sum(slots(bundle_gpus, f) for f in free)
            return math.ceil(missing / per_node) if per_node >= 1 else None


def bundles_of(job: Job) -> tuple[float, int]:
    """(GPUs of one waiting bundle, how many wait). Where the source does not say how the work is
    cut, all of it counts as one bundle: the strictest reading."""
    pending = job.pending_gpus or job.gpus
    size = job.pending_bundle_gpus or pending
    return size, max(1, round(pending / size)) if size else 0


def room(snapshot: Snapshot, pool: str) -> dict[str, float]:
    """GPUs free by node of a pool, for nodes that take new work: alive, and not behind a fence."""
    return {
        node.name: node.gpus_free
        for node in _of(snapshot, pool)
        if node.ray_state is RayState.ALIVE and node.name not in snapshot.fences
    }


def why_waits(job: Job, snapshot: Snapshot) -> str:
    """One sentence for people: what the job needs, what is free, and what keeps nodes out."""
    if job.state is not JobState.WAITING and not job.pending_gpus:
        return f"{job.name} does not wait: it is {job.state.value}."
    size, count = bundles_of(job)
    nodes = _of(snapshot, job.pool)
    where = f"of {job.pool}" if job.pool else "of the cluster"
    need = f"{job.name} needs {_times(count)} with {size:g} free GPU{'s' if size != 1 else ''}"
    largest = max((n.gpus for n in nodes), default=0)
    if not nodes:
        return f"{need}; no node {where} is known."
    if size > largest:
        return f"{need}; no node {where} has more than {largest} GPUs, so it can never start there."
    free = room(snapshot, job.pool)
    open_for = sum(slots(size, f) for f in free.values())
    have = "none is free" if not open_for else f"{open_for} {'is' if open_for == 1 else 'are'} free"
    if open_for >= count:
        return f"{need}; {have}, so Ray should start it soon."
    out = [f"{n.name} is {_state(n, snapshot)}" for n in nodes if n.name not in free]
    return "; ".join([need, have, *_capped(out)]) + "."


def _of(snapshot: Snapshot, pool: str) -> list[Node]:
    """Worker nodes of a pool by name; of every pool when it is not named."""
    nodes = (n for _, n in sorted(snapshot.nodes.items()))
    return [n for n in nodes if not n.control_path and (not pool or n.pool == pool)]


def _times(count: int) -> str:
    return "a place" if count == 1 else f"{count} places"


def _state(node: Node, snapshot: Snapshot) -> str:
    if node.ray_state is not RayState.ALIVE:
        return node.ray_state.value
    return "cordoned" if node.name in snapshot.fences else "full"


def _capped(said: list[str], most: int = 4) -> list[str]:
    rest = len(said) - most
    return said if rest <= 0 else [*said[:most], f"{rest} more nodes are out"]

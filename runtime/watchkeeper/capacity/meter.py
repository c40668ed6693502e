"""Who holds which GPUs now, and for how long: snapshots to usage records.

Asked by control every half minute or so. A stretch between two looks counts as the earlier look
saw it; a longer silence counts for nobody and is told as unknown.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.cluster import Job, JobState, Node, RayState, World
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.usage import (
    FENCED,
    FRAGMENT,
    HELD,
    IDLE,
    OUT,
    UNKNOWN,
    UNNAMED,
    UsageRecord,
)

LOOK_EVERY_S = 30.0
"""Between two looks nothing is counted anew."""
RECORD_EVERY_S = 900.0
"""One record for each quarter of an hour on the clock."""
LONGEST_GAP_S = 180.0
"""A longer silence between two looks is unknown."""
FRESH_S = 60.0
"""Ray's word older than this says nothing about now."""
MOST_TENANTS = 100
"""Tenants told apart in one record; the smallest of more are told together."""
OTHERS = "(others)"


@dataclass(frozen=True, slots=True)
class Reading:
    """One moment. gpus: (pool, use) -> GPUs. tenants: (pool, tenant) -> GPUs held. watts: by
    pool, None where some are silent."""

    gpus: dict[tuple[str, str], float]
    tenants: dict[tuple[str, str], float]
    watts: dict[str, float | None]
    simulated: bool = False


def read(snapshot: Snapshot) -> Reading | None:
    """Every GPU of every worker, in exactly one use. None where Ray's word is too old."""
    ray = snapshot.sources.get("ray")
    if ray is None or ray.error or ray.age_s is None or ray.age_s > FRESH_S:
        return None
    nodes = [n for n in snapshot.nodes.values() if not n.control_path]
    pools = sorted({n.pool for n in nodes})
    code = {name: i for i, name in enumerate(pools)}
    pool = np.array([code[n.pool] for n in nodes], np.intp)
    uses = _uses(snapshot, nodes, pool, code)
    by_pool = {
        use: np.bincount(pool, column, len(pools)).astype(np.float64)
        for use, column in uses.items()
    }
    tenants = _tenants(snapshot, pools, by_pool)
    gpus = {(name, use): float(by_pool[use][i]) for use in by_pool for i, name in enumerate(pools)}
    return Reading(
        gpus={key: value for key, value in gpus.items() if value > 0},
        tenants=tenants,
        watts={name: snapshot.power_w(name) for name in pools},
        simulated=bool(snapshot.frame.simulated.any()),
    )


def _uses(
    snapshot: Snapshot, nodes: list[Node], pool: NDArray[np.intp], code: dict[str, int]
) -> dict[str, NDArray[np.float64]]:
    """f8[N] for each use: GPUs of each node in it. They add up to the node's GPUs."""
    shown = np.array([n.gpus for n in nodes], np.float64)
    hidden = np.array([len(n.hidden_gpus) for n in nodes], np.float64)
    if snapshot.world is not World.TWIN:  # whose nodes do not count what they hide
        shown = np.maximum(shown - hidden, 0.0)
    free = np.minimum(np.array([n.gpus_free for n in nodes], np.float64), shown)
    fences = [snapshot.fences.get(n.name) for n in nodes]
    fenced = np.array([f is not None for f in fences], np.bool_)
    held = np.array([f.held if f else 0 for f in fences], np.float64)
    states = [n.ray_state for n in nodes]
    alive = np.array([s is RayState.ALIVE for s in states], np.bool_)
    draining = np.array([s is RayState.DRAINING for s in states], np.bool_)
    dead = np.array([s is RayState.DEAD for s in states], np.bool_)
    runs = alive | draining
    behind = np.minimum(held, shown - free)
    busy = np.where(runs, shown - free - behind, 0.0)
    open_free = np.where(alive & ~fenced, free, 0.0)
    split = open_free < _smallest_waiting(snapshot, code)[pool]
    return {
        HELD: busy,  # divided below into gangs and the rest
        IDLE: np.where(split, 0.0, open_free),
        FRAGMENT: np.where(split, open_free, 0.0),
        FENCED: np.where(runs, behind + hidden, 0.0) + np.where(alive & fenced, free, 0.0),
        OUT: np.where(dead, shown + hidden, 0.0) + np.where(draining, free, 0.0),
        UNKNOWN: np.where(runs | dead, 0.0, shown + hidden),
    }


def _smallest_waiting(snapshot: Snapshot, code: dict[str, int]) -> NDArray[np.float64]:
    """By pool, the smallest bundle that waits there, in GPUs; 0 where nothing waits."""
    least = np.full(len(code), np.inf)
    for job in snapshot.jobs.values():
        if job.pending_bundle_gpus > 0 and job.pending_gpus > 0 and job.pool in code:
            at = code[job.pool]
            least[at] = min(least[at], job.pending_bundle_gpus)
    return np.where(np.isinf(least), 0.0, least)


def _tenants(
    snapshot: Snapshot, pools: list[str], by_pool: dict[str, NDArray[np.float64]]
) -> dict[tuple[str, str], float]:
    """GPUs by pool and tenant, never more than Ray says are in use; the rest is `unnamed`."""
    found: defaultdict[tuple[str, str], float] = defaultdict(float)
    for job in snapshot.jobs.values():
        if job.state is JobState.RUNNING and job.gpus > 0:
            found[_pool_of(job, snapshot), job.tenant[:200]] += job.gpus
    busy = by_pool[HELD]
    claimed: defaultdict[str, float] = defaultdict(float)
    for (pool, _), gpus in found.items():
        claimed[pool] += gpus
    told: dict[tuple[str, str], float] = {}
    by_pool[UNNAMED] = np.zeros(len(pools))
    for i, pool in enumerate(pools):
        named = min(claimed[pool], float(busy[i]))
        share = named / claimed[pool] if claimed[pool] else 0.0
        told |= {key: gpus * share for key, gpus in found.items() if key[0] == pool and share}
        by_pool[UNNAMED][i] = busy[i] - named
        busy[i] = named
    return told


def _pool_of(job: Job, snapshot: Snapshot) -> str:
    if job.pool:
        return job.pool
    node = snapshot.nodes.get(job.nodes[0]) if job.nodes else None
    return node.pool if node else ""


@dataclass
class Meter:
    """Adds readings up over time; hands out a record for each quarter of an hour."""

    _reading: Reading | None = None
    _steady: float | None = None
    _first: datetime | None = None
    _known_s: float = 0.0
    _gpus: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    _tenants: defaultdict[tuple[str, str], float] = field(
        default_factory=lambda: defaultdict(float)
    )
    _energy: dict[str, float | None] = field(default_factory=dict)
    _simulated: bool = False

    def look(self, snapshot: Snapshot) -> UsageRecord | None:
        """Count the time since the last look; a record where a quarter of an hour is over."""
        if self._steady is not None and snapshot.steady - self._steady < LOOK_EVERY_S:
            return None
        self._count(snapshot)
        self._reading, self._steady = read(snapshot), snapshot.steady
        if self._first is None:
            self._first = snapshot.at
            return None
        if _quarter(snapshot.at) == _quarter(self._first):
            return None
        return self.close(snapshot)

    def close(self, snapshot: Snapshot) -> UsageRecord | None:
        """What was counted since the last record; None where nothing was."""
        first, known = self._first, self._known_s
        record = None
        if first is not None and snapshot.at > first:
            record = UsageRecord(
                first=first,
                last=snapshot.at,
                known_s=round(known, 3),
                gpu_hours=_nested(self._gpus),
                tenants=_nested(_largest(self._tenants)),
                energy_kwh={p: None if w is None else _r(w) for p, w in self._energy.items()},
                world=snapshot.world,
                simulated=self._simulated,
            )
        self._first, self._known_s, self._simulated = snapshot.at, 0.0, False
        self._gpus.clear()
        self._tenants.clear()
        self._energy.clear()
        return record

    def _count(self, snapshot: Snapshot) -> None:
        if self._steady is None or self._reading is None:
            return
        passed = snapshot.steady - self._steady
        if not 0 < passed <= LONGEST_GAP_S:
            return
        hours, reading = passed / 3600, self._reading
        self._known_s += passed
        self._simulated |= reading.simulated
        for key, gpus in reading.gpus.items():
            self._gpus[key] += gpus * hours
        for key, gpus in reading.tenants.items():
            self._tenants[key] += gpus * hours
        for pool, watts in reading.watts.items():
            before = self._energy.get(pool, 0.0)
            # Silent once is unknown for the whole record: a sum that misses a part is no sum.
            if watts is None or before is None:
                self._energy[pool] = None
            else:
                self._energy[pool] = before + watts * hours / 1000


def _quarter(at: datetime) -> int:
    return int(at.timestamp() // RECORD_EVERY_S)


def _largest(tenants: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """At most `MOST_TENANTS` names, the smallest told together."""
    if len(tenants) <= MOST_TENANTS:
        return tenants
    ranked = sorted(tenants.items(), key=lambda item: (-item[1], item[0]))
    kept = dict(ranked[:MOST_TENANTS])
    for (pool, _), gpus in ranked[MOST_TENANTS:]:
        kept[pool, OTHERS] = kept.get((pool, OTHERS), 0.0) + gpus
    return kept


def _nested(flat: dict[tuple[str, str], float]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for (pool, name), value in sorted(flat.items()):
        found.setdefault(pool, {})[name] = _r(value)
    return found


def _r(value: float) -> float:
    """Journal figures have six decimals: a millionth of a GPU-hour is 4 ms of one GPU."""
    return round(value, 6)

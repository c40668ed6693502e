"""Which series there are: GPUs running and waiting in each pool, and of each tenant; requests a
second of each deployment of a model server.

A pool's series has the pool's name; a tenant's is `tenant:NAME`, a deployment's `serve:NAME`.
Tenants name themselves: their series inform people and prices, and size no pool.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from watchkeeper.core.cluster import ClusterState, JobState
from watchkeeper.core.serving import SERVE

MOST_TENANTS = 32
"""Of more, those with the most GPUs; anybody may make up names."""

TENANT = "tenant:"

MOST_SERVED = 64
"""Of more deployments, those with the most requests."""


class Occupancy(NamedTuple):
    """One reading of one series, in GPUs; of a deployment, in requests a second."""

    name: str
    running: float
    pending: float


def occupancies(state: ClusterState) -> tuple[Occupancy, ...]:
    """Pools in the order told, then tenants by name, then deployments by name. A deployment whose
    rate is unknown has no reading: that is no rate of zero."""
    pools = [Occupancy(d.pool, d.running_gpus, d.pending_gpus) for d in state.demand]
    running: dict[str, float] = defaultdict(float)
    pending: dict[str, float] = defaultdict(float)
    for job in state.jobs.values():
        if job.tenant:
            running[job.tenant] += job.gpus if job.state is JobState.RUNNING else 0.0
            pending[job.tenant] += job.pending_gpus
    known = {tenant: running[tenant] + pending[tenant] for tenant in (*running, *pending)}
    largest = sorted(known, key=lambda tenant: (-known[tenant], tenant))[:MOST_TENANTS]
    tenants = [Occupancy(TENANT + t, running[t], pending[t]) for t in sorted(largest)]
    told = [Occupancy(SERVE + s.name, s.rate, 0.0) for s in state.serving if s.rate is not None]
    told = sorted(told, key=lambda each: (-each.running, each.name))[:MOST_SERVED]
    return (*pools, *tenants, *sorted(told))

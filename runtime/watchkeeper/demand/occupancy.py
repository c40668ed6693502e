"""Which series there are: GPUs running and waiting in each pool, and of each tenant.

A pool's series has the pool's name; a tenant's is `tenant:NAME`. Tenants name themselves: their
series inform people and prices, and size no pool.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from watchkeeper.core.cluster import ClusterState, JobState

MOST_TENANTS = 32
"""Of more, those with the most GPUs; anybody may make up names."""

TENANT = "tenant:"


class Occupancy(NamedTuple):
    """One reading of one series, in GPUs."""

    name: str
    running: float
    pending: float


def occupancies(state: ClusterState) -> tuple[Occupancy, ...]:
    """Pools in the order told, then tenants by name."""
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
    return (*pools, *tenants)
